"""Ops that only move data, ops that move nothing, and what of its tensors an op really reads and writes.

A table of which rows are taken is read row by row, not whole; what is only overwritten is not read. Views need no
formula: an op whose result lies in its argument's memory says so in its schema.
"""

from __future__ import annotations

from math import prod

from perfkit.tracing.calls import Call, TensorInfo, once, tensors_of
from perfkit.tracing.registry import Flops, Part, Rule, Traffic, register, whole

# Whole tensors: each read once, each written once.
_COPIES = (
    "_reshape_copy _to_copy block_diag cat channel_shuffle clone constant_pad_nd diag_embed diagonal_scatter flip "
    "im2col col2im masked_fill masked_scatter masked_select nonzero_static pixel_shuffle pixel_unshuffle "
    "reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d "
    "replication_pad3d roll rot90 scatter index_copy index_put _unsafe_index_put _unsafe_masked_index select_scatter "
    "slice_scatter sort stack topk tril triu unfold_copy upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d where scatter_add index_add "
    "bernoulli bucketize searchsorted one_hot kthvalue all any count_nonzero histc bincount view_as_complex_copy"
)
# Made of nothing: the result is written, and what it is shaped like is not read.
_FILLS = (
    "arange eye fill full full_like linspace logspace new_full new_ones new_zeros ones ones_like rand rand_like "
    "randint randint_like randn randn_like randperm scalar_tensor tril_indices triu_indices zero zeros zeros_like "
    "normal uniform random exponential"
)
# Names of memory, not of work.
_FREE = (
    "_assert_async _assert_scalar _assert_tensor_metadata _local_scalar_dense _reshape_alias _unsafe_view detach_ "
    "empty empty_like empty_permuted empty_strided equal is_pinned is_same_size item new_empty new_empty_strided "
    "resize_ set_ squeeze_ swapaxes_ swapdims_ t_ transpose_ unsqueeze_ as_strided_ sym_constrain_range "
    "sym_constrain_range_for_size unsafe_split unsafe_split_with_sizes"
)


def _named(names: str) -> list[str]:
    return [f"aten.{name}" for name in names.split()]


def _some(info: TensorInfo, elements: int) -> Part:
    """So many elements of a tensor."""
    return info, elements * info.itemsize


def rows_taken(table: int, index: int) -> Rule:
    """Elements of the argument at `table`, as many as the result has, chosen by the argument at `index`."""

    def traffic(call: Call) -> Traffic:
        return Traffic(
            (_some(call.args[table], call.out.elements), *whole(*tensors_of(call.args[index]))), whole(call.out)
        )

    return Rule("move", traffic=traffic)


def overwritten(call: Call) -> Traffic:
    """`copy_`: the source is read, the destination written."""
    return Traffic(whole(call.args[1]), whole(call.args[0]))


def filled(call: Call) -> Traffic:
    """Written without reading anything."""
    return Traffic((), whole(*call.outputs, *call.written))


def indexed(call: Call) -> int:
    """Elements of the first argument that `index_put_` addresses: those of target[indices]."""
    target: TensorInfo = call.args[0]
    chosen: tuple[int, ...] = ()
    passed = 0  # dimensions that indices have taken
    rest = target.elements
    for index in call.args[1]:
        if index is None:
            passed += 1
            continue
        mask = index.itemsize == 1  # bool; it stands for as many dimensions as it has, and may choose all of them
        taken = len(index.shape) if mask else 1
        rest //= max(1, prod(target.shape[passed : passed + taken]))
        chosen = _broadcast(chosen, (index.elements,) if mask else index.shape)
        passed += taken
    return prod(chosen) * rest


def _broadcast(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(first), len(second))
    sides = ((1,) * (rank - len(shape)) + shape for shape in (first, second))
    return tuple(max(pair) for pair in zip(*sides, strict=True))


def by_index(call: Call) -> int:
    """One element an index: `scatter_`."""
    return prod(call.shape(2))


def by_source(call: Call) -> int:
    """As many elements as the source has: `index_copy_`."""
    return prod(call.shape(3))


def by_slices(call: Call) -> int:
    """A slice of the first argument an index: `index_fill_`."""
    shape, dimension = call.shape(0), int(call.args[1])
    return prod(call.shape(2)) * prod(shape) // max(1, shape[dimension])


def put(touched: Flops, *given: int, adds: bool = False) -> Rule:
    """Elements of the first argument are written, those that are added to read before.

    `touched` counts them; `given` are the arguments that say which, and what is put there.
    """

    def traffic(call: Call) -> Traffic:
        target, elements = call.args[0], touched(call) or 0
        sources = once(tensors_of(call.args[given[0] : given[-1] + 1]))
        reads = [(info, min(info.footprint, elements * info.itemsize)) for info in sources]
        if adds or call.setting(3, "accumulate", default=False) is True:
            reads.append(_some(target, elements))
        return Traffic(tuple(reads), (_some(target, elements),))

    return Rule("move", traffic=traffic)


def bag_rows(call: Call) -> Traffic:
    """`embedding_bag`: a row of the table an index, then whole tensors."""
    table, indices = call.args[0], call.args[1]
    rows = (table, indices.elements * table.shape[1] * table.itemsize)
    return Traffic((rows, *whole(*call.inputs[1:])), whole(call.out))


register(_named(_COPIES), Rule("move"))
register(_named(_FILLS), Rule("move", traffic=filled))
register(_named(_FREE), Rule("free", traffic=lambda _: Traffic()))
register(["aten.copy"], Rule("move", traffic=overwritten))
register(["aten.embedding"], rows_taken(0, 1))
register(_named("gather index_select"), rows_taken(0, 2))
register(_named("index take _unsafe_index"), rows_taken(0, 1))
register(_named("_embedding_bag _embedding_bag_forward_only"), Rule("move", traffic=bag_rows))
register(_named("index_put_ _index_put_impl_"), put(indexed, 1, 2))
register(_named("scatter_"), put(by_index, 2, 3))
register(_named("scatter_add_ scatter_reduce_"), put(by_index, 2, 3, adds=True))
register(_named("index_copy_"), put(by_source, 2, 3))
register(_named("index_add_"), put(by_source, 2, 3, adds=True))
register(_named("index_fill_"), put(by_slices, 2))
