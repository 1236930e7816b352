"""Reports: one tidy table of SI numbers, what people see, and JSON, of each kind of value."""

import json
from itertools import pairwise

import pytest

import perfkit
from perfkit import reports
from perfkit.errors import InvalidValue
from perfkit.hardware import device_ids, load_device, specs_folder
from perfkit.models import load_model, preset_names

FIVE = ("weight_bytes", "read_bytes", "write_bytes", "kv_read_bytes", "kv_write_bytes")


@pytest.fixture(scope="module")
def prediction():
    return perfkit.analyze("v100", tokens=32)


@pytest.fixture(scope="module")
def values(prediction):
    return {
        "prediction": prediction,
        "count": perfkit.count("llava-1.5-7b", tokens=32),
        "device": load_device("v100"),
        "model": load_model("llava-1.5-7b"),
    }


KINDS = ("prediction", "count", "device", "model")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_has_one_tidy_table(kind, values):
    table = perfkit.report(values[kind])
    assert table.rows
    assert all(len(row) == len(table.columns) for row in table.rows)
    keys = [column.key for column in table.columns]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_becomes_a_data_frame(kind, values):
    table = perfkit.report(values[kind])
    frame = table.to_frame()
    assert list(frame.columns) == [column.key for column in table.columns]
    assert len(frame) == len(table.rows)


@pytest.mark.parametrize("kind", KINDS)
def test_people_see_titled_tables(kind, values):
    tables = reports.overview(values[kind])
    assert tables[0].title
    assert all(table.rows for table in tables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_plain_json_and_several_are_a_list(kind, values):
    one, several = reports.document(values[kind]), reports.document([values[kind], values[kind]])
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert several == [one, one]


def test_a_list_of_one_is_a_list(values):
    assert isinstance(reports.document([values["device"]]), list)


@pytest.mark.parametrize("value", [None, 3, "v100", {"a": 1}, []])
def test_nothing_else_has_a_report(value):
    with pytest.raises(InvalidValue, match=r"no report of .* have one"):
        perfkit.report(value)


# --- predictions


def test_ops_and_phases_are_told_apart_and_add_up(prediction):
    frame = perfkit.report(prediction).to_frame()
    assert set(frame["level"]) == {"phase", "op", "request", "memory"}
    phases = frame[frame["level"] == "phase"].set_index("phase")
    ops = frame[frame["level"] == "op"].groupby("phase")
    for key in ("flops", "matmul_flops", *FIVE, "bytes"):
        assert ops[key].sum().to_dict() == phases[key].to_dict(), key
    for phase, seconds in ops["roofline_s"].sum().items():
        assert seconds == pytest.approx(phases["roofline_s"][phase], rel=1e-12)


def test_several_predictions_stand_below_each_other(prediction):
    other = perfkit.analyze("h100", tokens=32)
    both = perfkit.report([prediction, other])
    assert both.rows == perfkit.report(prediction).rows + perfkit.report(other).rows
    assert [row[0] for row in both.rows[:: len(both.rows) - 1]] == ["v100-sxm2-32gb", "h100-sxm-80gb"]


def test_the_heading_says_on_what_and_under_what_ceilings(prediction):
    title = reports.overview(prediction)[0].title
    for part in ("llava-1.5-7b", "v100-sxm2-32gb (v100)", "32 visual + 60 text tokens", "fp16 125 TFLOP/s (tensor)"):
        assert part in title
    # The ridge: 125e12 FLOP/s / 900e9 B/s = 138.9 FLOP/B.
    assert "ridge 139 FLOP/B" in title


def test_shares_of_the_time_to_first_token_add_up_to_one(prediction):
    phases = reports.overview(prediction)[0]
    shares = [record["share"] for record in phases.records()]
    assert shares[-1] is None  # decode comes after the first token
    assert sum(shares[:-1]) == pytest.approx(1)


def test_kinds_add_up_to_their_phases(prediction):
    kinds = list(reports.overview(prediction)[2].records())
    assert sum(record["roofline_s"] for record in kinds) == pytest.approx(
        sum(phase.roofline_s for phase in prediction.phases)
    )
    assert sum(record["flops"] for record in kinds) == sum(phase.flops for phase in prediction.phases)
    # Each phase is named once, on its first line; within it the longest kind comes first.
    assert [record["phase"] for record in kinds if record["phase"]] == [phase.phase for phase in prediction.phases]
    starts = [i for i, record in enumerate(kinds) if record["phase"]] + [len(kinds)]
    for start, end in pairwise(starts):
        seconds = [record["roofline_s"] for record in kinds[start:end]]
        assert seconds == sorted(seconds, reverse=True)


def test_a_model_without_a_decoder_has_no_time_per_token():
    document = reports.document(perfkit.analyze("v100", "bert-base"))
    assert document["totals"]["tpot_roofline_s"] is None
    assert "decode" not in {phase["phase"] for phase in document["phases"]}


# --- devices


def test_a_list_of_devices_has_a_row_each_and_dashes_for_what_they_lack():
    records = {record["id"]: record for record in perfkit.report([load_device(i) for i in device_ids()]).records()}
    assert len(records) == 54
    v100 = records["v100-sxm2-32gb"]
    assert v100["fp16_flops_per_s"] == 125e12
    assert v100["fp32_flops_per_s"] == pytest.approx(15.7e12)
    assert v100["bandwidth_bytes_per_s"] == 900e9
    assert v100["bf16_flops_per_s"] is None
    assert records["tpuv4"]["fp16_flops_per_s"] is None


def test_one_device_shows_every_figure_with_its_source():
    device = load_device("v100")
    table, *_ = reports.overview(device)
    figures = {record["figure"]: record for record in table.records()}
    # 5 peaks, capacity, bandwidth, L2, SMs, TDP, a clock, NVLink and PCIe.
    assert len(figures) == 13
    assert all(record["source"] in (*device.sources, "derived") for record in figures.values())
    assert figures["memory bandwidth"]["printed"] == "900 GB/s"
    assert any("WP-08608" in note for note in table.notes)
    assert "v100" in table.title.split("also called ")[1].split(", ")


def test_the_json_of_a_device_spells_its_sources_out():
    document = reports.document(load_device("v100"))
    assert document["figures"]["memory bandwidth"]["value"] == 900e9
    assert "WP-08608" in document["figures"]["memory bandwidth"]["source"]
    (peak,) = [peak for peak in document["peaks"] if peak["engine"] == "tensor"]
    assert (peak["precision"], peak["accumulate"], peak["dense"]) == ("fp16", "fp32", True)
    assert peak["flops_per_s"] == 125e12
    assert "WP-08608" in peak["source"]


def test_the_json_of_a_device_has_units_in_its_names():
    document = reports.document(load_device("h100"))
    assert document["tdp_w"] == 700
    assert document["l2_bytes"] == 50e6
    assert document["sm_count"] == 132
    assert (document["boost_clock_hz"], document["tensor_clock_hz"]) == (1980e6, 1830e6)
    assert [(link["name"], link["bytes_per_s_each_direction"]) for link in document["links"]] == [("NVLink4", 450e9)]
    assert document["pcie"]["bytes_per_s_each_direction"] == 63e9
    assert {"gpu", "provider", "low_usd_per_hour", "date"} <= set(document["prices"][0])


def test_a_file_with_the_name_of_a_device_has_neither_its_aliases_nor_its_prices(tmp_path):
    path = tmp_path / "h100-sxm-80gb.yaml"
    path.write_text((specs_folder() / "h100-sxm-80gb.yaml").read_text())
    document = reports.document(load_device(str(path)))
    assert (document["aliases"], document["prices"], document["file"]) == ([], [], str(path))


def test_the_request_and_the_memory_stand_in_the_tidy_table(prediction):
    frame = perfkit.report(prediction).to_frame()
    request = frame[frame["level"] == "request"].set_index("name")["roofline_s"]
    assert request["ttft"] == prediction.ttft_roofline_s
    assert request["tpot"] == prediction.tpot_roofline_s
    memory = frame[frame["level"] == "memory"].set_index("name")
    parts = memory["memory_bytes"].drop("total").sum()
    assert parts == memory["memory_bytes"]["total"] == prediction.footprint.total
    assert memory["fits"]["total"]


def test_an_unknown_figure_is_null():
    assert reports.document(load_device("gb200"))["figures"]["SMs"]["value"] is None


def test_prices_of_a_device_are_shown_with_their_days():
    *_, prices = reports.overview(load_device("h100-sxm-80gb"))
    records = list(prices.records())
    assert any(record["usd"] == "3.50-5.00" for record in records)
    assert all(record["date"].startswith("20") for record in records)
    assert "Indicative" in prices.title


# --- models and counts


def test_a_list_of_models_has_a_row_a_preset():
    table = perfkit.report([load_model(name) for name in preset_names()])
    records = {record["name"]: record for record in table.records()}
    assert list(records) == list(preset_names())
    llava = records["llava-1.5-7b"]
    assert (llava["layers"], llava["hidden"], llava["heads"], llava["visual_tokens"]) == (32, 4096, 32, 576)


def test_parts_of_a_model_add_up():
    document = reports.document(load_model("llava-1.5-7b"))
    assert sum(document["parameters_by_part"].values()) == document["parameters"]


def test_a_count_adds_up(values):
    document = reports.document(values["count"])
    assert sum(document["by_phase"].values()) == document["total"] == 2 * document["macs"]
    assert sum(op["flops"] for op in document["by_op"]) == document["total"]
    by_phase = {}
    for op in document["by_op"]:
        by_phase[op["phase"]] = by_phase.get(op["phase"], 0) + op["flops"]
    assert by_phase == document["by_phase"]
