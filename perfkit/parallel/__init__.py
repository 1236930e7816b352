"""A model on several GPUs: what each of them holds and computes, and what they exchange.

    ModelSpec + tp --part_of--> ModelSpec of one GPU
    op costs of the whole + Layout --exchanges--> op costs, and transfers among them

Tensor parallel degree `tp` splits every layer of the language model (Shoeybi et al., Megatron-LM, arXiv 1909.08053):
q, k, v, gate and up by columns, o and down by rows, attention by heads, token table and lm_head by vocabulary. Norms
and residuals are computed on every GPU; so are the vision tower, a reducer behind it and the projector, as servers run
them. Pipeline degree `pp` gives each stage some of the layers (Narayanan et al., arXiv 2104.04473).
docs/parallelism.md has all of it.
"""

from perfkit.parallel.exchanging import Exchange, Transfer, exchanges
from perfkit.parallel.links import GPUS_OF_A_NODE, NETWORK, Group
from perfkit.parallel.pipelining import Layout, layout_of, pipeline_efficiency, pipeline_s, stage_layers
from perfkit.parallel.slicing import part_of, tensor_degrees

__all__ = [
    "GPUS_OF_A_NODE",
    "NETWORK",
    "Exchange",
    "Group",
    "Layout",
    "Transfer",
    "exchanges",
    "layout_of",
    "part_of",
    "pipeline_efficiency",
    "pipeline_s",
    "stage_layers",
    "tensor_degrees",
]
