"""What counts as this machine alone: for the address that is listened on, and for the names that requests call it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Of a name or an address without brackets and port."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == 'localhost'
