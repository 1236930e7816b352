"""How GPUs reach each other: within a node by the links of their datasheet, between nodes by a network."""

from __future__ import annotations

from typing import NamedTuple

from perfkit.errors import InvalidSpec
from perfkit.hardware import Device, Figure, Link

# Source: NVIDIA DGX A100 and DGX H100 datasheets: 8 GPUs a system, as on every HGX board of 8.
GPUS_OF_A_NODE = 8
PAIR = 2  # GPUs that a bridge joins
_BRIDGE = "bridge"  # in the name of such a link
# Source: NVIDIA DGX A100 datasheet: 8 single-port ConnectX-6 VPI, 200 Gb/s HDR InfiniBand, one a GPU. 200e9 / 8.
NETWORK = Link("HDR InfiniBand", Figure(25e9, "25 GB/s", "NVIDIA DGX A100 datasheet: one 200 Gb/s port a GPU"))


class Group(NamedTuple):
    """GPUs that exchange: `of_node` of them in each of `nodes` nodes.

    `link`: between those of a node; `network`: a port of each GPU to other nodes. Both are rates of one direction.
    """

    of_node: int
    nodes: int
    link: Link
    network: Link = NETWORK

    @property
    def workers(self) -> int:
        """All of them."""
        return self.of_node * self.nodes

    @property
    def link_bytes_per_s(self) -> float:
        """Of one GPU to others of its node."""
        return self.link.bandwidth.value or 0.0

    @property
    def network_bytes_per_s(self) -> float:
        """Of one GPU's port to other nodes."""
        return self.network.bandwidth.value or 0.0

    def __str__(self) -> str:
        """As notes name it."""
        used = self.link if self.nodes == 1 else self.network
        return f"{used.name}, {used.bandwidth.printed} each way"


def group_of(device: Device, workers: int) -> Group:
    """So many GPUs, in as few nodes as hold them, the same number in each.

    Raises:
        InvalidSpec: no source prints a link of the device.

    >>> from perfkit.hardware import load_device
    >>> group = group_of(load_device("a100"), 16)
    >>> group.of_node, group.nodes, str(group)
    (8, 2, 'HDR InfiniBand, 25 GB/s each way')
    """
    nodes = -(-workers // GPUS_OF_A_NODE)
    of_node = -(-workers // nodes)
    return Group(of_node, nodes, link_of(device, of_node))


def neighbours(device: Device, *, same_node: bool) -> Group:
    """Two GPUs, of one node or of two."""
    link = link_of(device, PAIR)
    return Group(PAIR, 1, link) if same_node else Group(1, PAIR, link)


def link_of(device: Device, workers: int) -> Link:
    """Link between so many GPUs of a node: NVLink or its like; PCIe without one, or where a bridge joins only pairs.

    Raises:
        InvalidSpec: no source prints one.

    >>> from perfkit.hardware import load_device
    >>> link_of(load_device("a100-pcie-80gb"), 2).name, link_of(load_device("a100-pcie-80gb"), 4).name
    ('NVLink3 bridge', 'PCIe 4')
    """
    own = [link for link in device.links if workers <= PAIR or _BRIDGE not in link.name]
    known = [link for link in (*own, device.pcie) if link is not None and link.bandwidth.value is not None]
    if not known:
        raise InvalidSpec(f"{device.id}: no link to other GPUs is known of it, so tp and pp must be 1")
    return known[0]
