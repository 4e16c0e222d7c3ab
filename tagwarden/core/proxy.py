"""Who sent a request, and over which scheme, when reverse proxies may stand between.

Headers of a proxy count only if the peer is one that the operator trusts (TAGWARDEN_TRUSTED_PROXIES).
"""

from ipaddress import ip_address, ip_network


class Proxies:
    """The proxies we trust."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """`networks`: as in Env.trusted_proxies, e.g. ("10.0.0.0/8",)."""
        self._networks = [ip_network(network) for network in networks]

    def trusts(self, address: str) -> bool:
        """Whether that address is one of them; a text that is no address is not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str) -> str:
        """The client's address. `peer`: the socket's, with or without port; `forwarded_for`: X-Forwarded-For.

        The header is read from the right, since only what our own proxies appended is true.
        """
        address = _host(peer)
        if not forwarded_for or not self._networks:
            return address
        for step in reversed(forwarded_for.split(",")):
            if not self.trusts(address):
                break
            address = _host(step.strip()) or address
        return address

    def scheme(self, peer: str, own: str, forwarded_proto: str) -> str:
        """ "http" or "https": the proxy's word if it is ours, else the socket's own."""
        told = forwarded_proto.split(",")[-1].strip().lower()
        return told if told in ("http", "https") and self.trusts(_host(peer)) else own


def is_loopback(address: str) -> bool:
    """Whether that is this machine itself: a peer's address or a Host header, with or without port."""
    host = _host(address)
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host(address: str) -> str:
    """An address without port and brackets: 10.0.0.1:80, [::1]:80, ::1."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address
