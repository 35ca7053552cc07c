"""HOST:PORT, on command lines and in the environment."""

from typing import ClassVar

import click


class AddressType(click.ParamType[str]):
    """A click type that checks HOST:PORT; several in one environment variable are separated by commas."""

    name = "host:port"
    envvar_list_splitter: ClassVar[str] = ","

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address as given; click's BadParameter if it has no host, or no port from 0 to 65535."""
        host, _, port = value.strip().rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return value.strip()


ADDRESS = AddressType()
