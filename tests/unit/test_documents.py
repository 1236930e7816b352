"""Files that people write: read strictly, refused with the file and the place named."""

import json
import time

import pytest

from perfkit.documents import MAXIMUM_BYTES, Section, read_json, read_text, read_yaml
from perfkit.errors import InvalidSpec, PerfkitError
from perfkit.units import Precision

# libyaml's composer overflows the stack at some ten thousand levels: a crash, not an exception.
DEEP = 100_000


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="file.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def refused(read, path):
    """The message with which `read` refuses the file: one line that names it."""
    with pytest.raises(InvalidSpec) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(path)) + 300
    return message


# --- any file


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_a_missing_file_is_named(read, tmp_path):
    assert "no such file" in refused(read, tmp_path / "none.yaml")


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_a_folder_is_no_file(read, tmp_path):
    assert "not a regular file" in refused(read, tmp_path)


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_a_file_above_16_mib_is_refused_unread(read, tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(17 * 2**20)
    assert "larger than 16 MiB" in refused(read, path)


def test_a_file_of_just_16_mib_is_read(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(MAXIMUM_BYTES)
    assert len(read_text(path)) == 16 * 2**20


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
@pytest.mark.parametrize("content", [b"name: \xff\xfe", b"\x80", "name: é".encode("latin-1")])
def test_bytes_that_are_no_utf8_are_refused(read, content, write):
    assert "not text in UTF-8" in refused(read, write(content))


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path):
    with pytest.raises(InvalidSpec, match="cannot be read: File name too long"):
        read_text(tmp_path / ("a" * 300))


# --- JSON


def test_a_json_object_is_read(write):
    assert read_json(write('{"a": [1, 2.5, null]}')) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "hello", '{"a": 1} x', "[" * DEEP, '{"a": ' + "1" * 5000 + "}"])
def test_what_is_no_json_is_refused(text, write):
    assert "not JSON" in refused(read_json, write(text))


def test_a_key_given_twice_in_json_is_refused_as_fast_among_many_keys_as_among_few(write):
    # Counting each key in the list of all took 20000^2 / 2 comparisons; the time is that of one look-up a key.
    keys = [f"k{i}" for i in range(20_000)]
    path = write("{" + ", ".join(f'"{key}": 1' for key in [*keys, keys[-1]]) + "}")
    start = time.process_time()
    assert "not JSON: key 'k19999' twice" in refused(read_json, path)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["[1]", "3", '"text"', "null"])
def test_json_that_is_no_object_is_refused(text, write):
    assert "must hold a JSON object" in refused(read_json, write(text))


# --- YAML


def test_a_yaml_mapping_is_read(write):
    assert read_yaml(write("a: 1\nb: [x, 2.5]\nc: {d: true}\n")) == {"a": 1, "b": ["x", 2.5], "c": {"d": True}}


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "3\n", "text\n", "null\n"])
def test_yaml_that_is_no_mapping_is_refused(text, write):
    assert "must hold a mapping" in refused(read_yaml, write(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\n", 2), ("a: 'x\n", 2), ("a: b: c\n", 1), ("a: 1\n\tb: 2\n", 2), ("a: 1\n---\nb: 2\n", 2)],
    ids=["bracket left open", "quote left open", "two colons", "tab", "two documents"],
)
def test_broken_yaml_names_the_line(text, line, write):
    assert f"not YAML: line {line}: " in refused(read_yaml, write(text))


@pytest.mark.parametrize(
    "text",
    ["a: 2020-13-45\n", "a: 2001-02-30\n", f"a: {'1' * 5000}\n", 'a: "\\ud800"\n', "a: x\x00y\n", "a: =\n"],
    ids=["month 13", "30 February", "5000 digits", "half a surrogate pair", "NUL", "bare equals sign"],
)
def test_values_that_yaml_cannot_make_are_refused_not_crashed_on(text, write):
    assert "not YAML" in refused(read_yaml, write(text))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [("a: 1\nb: 2\na: 3\n", "a", 3), ("m:\n  x: 1\n  x: 1\n", "x", 3), ("l: [{x: 1, x: 2}]\n", "x", 1)],
    ids=["top", "nested", "in a list"],
)
def test_a_key_given_twice_is_refused(text, key, line, write):
    assert f"line {line}: key '{key}' twice" in refused(read_yaml, write(text))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch hacked']\n",
        "a: !!python/name:os.system\n",
        'a: !!float "3"\n',
        "a: !!str 3\n",
        "a: !foo 3\n",
        "!!map {a: 1}\n",
        "a: !!binary aGVsbG8=\n",
        "a: !!set {x, y}\n",
        "a: [1, !t 2]\n",
    ],
)
def test_tags_are_refused(text, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "line 1: tags (" in refused(read_yaml, write(text))
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: &x 1\n", 1), ("a: 1\nb: &x {c: 1}\n", 2), ("a: &x [1]\nb: *x\n", 1), ("a: *x\n", 1)],
)
def test_anchors_and_aliases_are_refused(text, line, write):
    assert f"line {line}: anchors and aliases are not allowed" in refused(read_yaml, write(text))


def test_a_billion_laughs_are_refused_at_the_first(write):
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "line 1: anchors" in refused(read_yaml, write("\n".join(lines)))


def test_merging_is_refused_because_it_gives_a_key_twice(write):
    assert "line 2: merging" in refused(read_yaml, write("a: 1\n<<: {a: 2}\n"))


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * DEEP + "]" * DEEP, "a: " + "{a: " * DEEP + "1" + "}" * DEEP, "- " * DEEP + "x", "[" * DEEP],
    ids=["lists", "mappings", "block lists", "unclosed"],
)
def test_deep_nesting_is_refused_before_it_overflows_the_stack(text, write):
    assert "line 1: nested too deeply" in refused(read_yaml, write(text))


def test_twenty_levels_are_not_deep(write):
    nested = "[" * 20 + "]" * 20
    assert read_yaml(write(f"a: {nested}")) == {"a": json.loads(nested)}


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "? {a: 1}\n: 1\n"])
def test_a_key_is_text(text, write):
    assert "line 1: a key must be text" in refused(read_yaml, write(text))


def test_line_ends_of_windows_and_a_byte_order_mark_are_read(write):
    assert read_yaml(write("\ufeffa: 1\r\nb: 2\r\n")) == {"a": 1, "b": 2}


# --- sections


def section(**values):
    return Section(values, "card.yaml")


@pytest.mark.parametrize("values", [None, 3, "text", ["a"]])
def test_a_section_is_a_mapping(values):
    with pytest.raises(InvalidSpec, match=r"card\.yaml: must be a mapping, not "):
        Section(values, "card.yaml")


@pytest.mark.parametrize("read", ["text", "number", "raw", "section", "sections"])
def test_a_missing_key_is_named(read):
    with pytest.raises(InvalidSpec, match=r"card\.yaml: tdp is missing"):
        getattr(section(), read)("tdp")


@pytest.mark.parametrize("value", [3, 3.5, True, None, ["a"], {}, "", "  "])
def test_text_is_text(value):
    with pytest.raises(InvalidSpec, match="name must be text, not "):
        section(name=value).text("name")


@pytest.mark.parametrize("text", ["\ud800", "a\ud800b", "\ude00\ud83d"])
def test_half_a_surrogate_pair_is_no_text(text, write):
    values = read_json(write(json.dumps({"name": text, "notes": ["whole", text]})))
    for read in ("text", "texts"):
        with pytest.raises(InvalidSpec) as caught:
            getattr(Section(values, "card.yaml"), read)("name" if read == "text" else "notes")
        message = str(caught.value)
        message.encode()  # it can be printed
        assert message.startswith("card.yaml: n")
        assert r"\u" in message


def test_a_whole_surrogate_pair_is_a_letter(write):
    assert Section(read_json(write('{"name": "\\ud83d\\ude00"}')), "card.yaml").text("name") == "\N{GRINNING FACE}"


def test_optional_text_may_be_absent_but_not_of_another_kind():
    assert section().optional_text("note") is None
    assert section(note="x").optional_text("note") == "x"
    with pytest.raises(InvalidSpec, match="note must be text"):
        section(note=None).optional_text("note")


@pytest.mark.parametrize("value", [125, 15.7, 1e-9, 1e15])
def test_plain_numbers_are_taken(value):
    assert section(value=value).number("value") == value


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.0, -1, -1.5, float("nan"), float("inf"), -float("inf"), 1e-10, 5e-324, 1e16, 1e308, 10**400, 16**5000],
    ids=lambda value: f"{value:g}" if isinstance(value, float) else f"{value.bit_length()} bits",
)
def test_numbers_outside_what_a_datasheet_prints_are_refused(value):
    with pytest.raises(InvalidSpec, match=r"card\.yaml: value must be a number above zero"):
        section(value=value).number("value")


@pytest.mark.parametrize("value", ["125", "125e12", "1,000", "", "unknown"])
def test_text_is_no_number(value):
    with pytest.raises(InvalidSpec, match="value must be a plain number, not the text "):
        section(value=value).number("value")


@pytest.mark.parametrize("value", [True, False, None, [1], {"a": 1}])
def test_neither_truth_nor_list_nor_nothing_is_a_number(value):
    with pytest.raises(InvalidSpec, match="value must be a plain number, not "):
        section(value=value).number("value")


def test_a_whole_number_has_no_fraction():
    assert section(sms=80.0).number("sms", whole=True) == 80
    with pytest.raises(InvalidSpec, match=r"sms must be a whole number above zero .*, not 80\.5"):
        section(sms=80.5).number("sms", whole=True)


def test_a_choice_names_the_nearest():
    assert section(engine="tensor").choice("engine", ("tensor", "vector")) == "tensor"
    with pytest.raises(InvalidSpec, match=r"card\.yaml: unknown engine 'tensors'; nearest: tensor"):
        section(engine="tensors").choice("engine", ("tensor", "vector"))


def test_a_choice_is_the_name_of_the_list():
    allowed = (Precision.FP16, Precision.INT4)
    assert Section({"weights": "int4"}, "here").choice("weights", allowed) is Precision.INT4


def test_a_nested_section_says_where_it_stands():
    with pytest.raises(InvalidSpec, match=r"card\.yaml: memory: capacity: unit is missing"):
        section(memory={"capacity": {}}).section("memory").section("capacity").text("unit")


def test_a_list_of_sections_numbers_them():
    first, second = section(peaks=[{"a": 1}, {}]).sections("peaks")
    assert first.raw("a") == 1
    with pytest.raises(InvalidSpec, match=r"card.yaml: peaks\[1\]: a is missing"):
        second.raw("a")
    with pytest.raises(InvalidSpec, match="peaks must be a list, not "):
        section(peaks={"a": 1}).sections("peaks")


def test_a_list_of_sections_may_be_absent_but_is_of_mappings():
    section = Section({"rows": [{"a": 1}], "columns": 3}, "here")
    assert section.optional_sections("figures") == []
    assert [row.where for row in section.optional_sections("rows")] == ["here: rows[0]"]
    with pytest.raises(InvalidSpec, match="here: columns must be a list, not 3"):
        section.optional_sections("columns")


def test_texts_are_a_list_of_texts_or_nothing():
    assert section().texts("notes") == ()
    assert section(notes=["a", "b"]).texts("notes") == ("a", "b")
    for bad in ("a", [1], [None], {"a": "b"}):
        with pytest.raises(InvalidSpec, match="notes must be a list of texts"):
            section(notes=bad).texts("notes")


def test_finish_refuses_what_nobody_asked_for_and_names_the_nearest():
    read = section(name="x", tpd=300)
    read.text("name")
    assert not read.has("tdp")
    with pytest.raises(InvalidSpec, match=r"card\.yaml: unknown key 'tpd'; nearest: tdp"):
        read.finish()


def test_finish_accepts_what_was_asked_for():
    read = section(name="x")
    read.text("name")
    read.finish()
    assert read.has("name")


def test_a_key_that_is_no_text_is_refused_in_words():
    with pytest.raises(InvalidSpec, match="unknown key '1'"):
        Section({1: 2}, "card.yaml").finish()


def test_messages_shorten_what_they_quote():
    with pytest.raises(PerfkitError) as caught:
        section(name=["x" * 10**6]).text("name")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("text", "value"), [("010", "010"), ("1:30", "1:30"), ("1_000", "1_000"), ("0x10", "0x10")])
def test_numbers_that_only_yaml_1_1_reads_so_stay_text(tmp_path, text, value):
    path = tmp_path / "card.yaml"
    path.write_text(f"value: {text}\n")
    assert read_yaml(path) == {"value": value}  # 8, 90, 1000 and 16 by YAML 1.1


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("-3", -3), ("0", 0), ("2.5", 2.5), ("1.25e+14", 1.25e14)])
def test_decimal_numbers_are_read(tmp_path, text, value):
    path = tmp_path / "card.yaml"
    path.write_text(f"value: {text}\n")
    assert read_yaml(path) == {"value": value}
