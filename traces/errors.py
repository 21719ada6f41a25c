"""What is said to a person whose trace, address or event pattern cannot be used."""


class TraceError(Exception):
    """A trace or an address cannot be used; the message says what, where, and what was expected.

    The front door prints the message without a traceback and ends with `exit_status`.
    """

    exit_status = 2
