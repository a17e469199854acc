"""Options that take one value are given once: click would take the last in silence."""

from collections.abc import Sequence

import click


def refuse_repeated(
    command: click.Command, context: click.Context, arguments: Sequence[str]
) -> None:
    """Raise click's UsageError if an option that takes one value is given twice, also
    to a command of a group.
    """
    try:
        _, rest, order = command.make_parser(context).parse_args(args=list(arguments))
    except click.UsageError:  # the command itself says so
        return
    for option in dict.fromkeys(order):
        is_one = isinstance(option, click.Option) and not (option.multiple or option.count)
        if is_one and (times := order.count(option)) > 1:
            raise click.UsageError(f"{option.opts[0]} is given {times} times", context)
    if isinstance(command, click.Group) and rest:
        inner = command.get_command(context, rest[0])
        if inner is not None:
            refuse_repeated(inner, click.Context(inner, context, rest[0]), rest[1:])
