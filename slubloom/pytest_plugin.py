"""The pytest plugin: async tests that run as kernel threads, under one schedule or under many.

An async test that takes the ``machine`` fixture runs as a thread on processor 0 of a freshly booted machine:

    @pytest.mark.explore(schedules=500)
    async def test_nothing_is_lost(machine):
        ...

Without the mark it runs once, in the order of the virtual clocks, as ``slubloom run`` would.  The machine is that of
the ``topology`` fixture: two processors and one node, or what the mark ``topology("FILE", release=…)`` or a fixture of
that name in the test's own module or conftest says.

Of ``explore``: ``schedules`` (default 100) and ``budget`` ("10s") end the search, ``strategy`` (default the portfolio)
and ``seed`` direct it; ``expect="use-after-free"`` turns it round: the test passes only if that kind of violation is
found.  A test fails with the first schedule under which it raises or a sanitizer reports something, with a token and
the story of the smallest such schedule.  Tokens of failures are kept in pytest's cache and replayed first the next
time; ``--slubloom-token TOKEN`` runs just that schedule.

Works beside pytest-trio, which leaves these tests alone.  Only the machine is made anew for each schedule: other
fixtures are shared by all schedules of a test.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .explore.async_test import AsyncTest, Failure
    from .explore.campaign import CampaignOptions
    from .topology import Scenario

CACHE = "slubloom/failing"
TOKENS_KEPT = 5
SCHEDULES = 100
"""Of a test that does not say how many."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("slubloom")
    group.addoption("--slubloom-token", metavar="TOKEN", help="Run async kernel tests under this one schedule only.")


def pytest_configure(config: pytest.Config) -> None:
    """Declare our marks."""
    config.addinivalue_line(
        "markers",
        "explore(schedules=100, strategy='portfolio', seed=0, budget=None, expect=None): "
        "run an async test of the machine fixture under many schedules",
    )
    config.addinivalue_line("markers", "topology(file, release=None, apply=(), revert=()): the machine of a test")


@pytest.fixture
def topology() -> Scenario:
    """Two processors and one node.  Override it to build a machine of your own; a test's ``topology`` mark wins."""
    from .testing import topology as build

    return build()


def _load(request: pytest.FixtureRequest, file: Any, **changes: Any) -> Scenario:
    """A topology file by its path, from the test's folder or pytest's, or by the name of a shipped one."""
    from .topology import gallery_path, load

    folders = [request.path.parent, request.config.rootpath]
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    return load(path or gallery_path(str(file)), **changes)


@pytest.fixture
def machine(request: pytest.FixtureRequest, topology: Scenario) -> Any:
    """The machine, booted anew for each schedule: what the test gets is put in its place when it runs."""
    mark = request.node.get_closest_marker("topology")
    return _load(request, *mark.args, **mark.kwargs) if mark is not None else topology


def _is_ours(item: pytest.Item) -> bool:
    """Whether a test is marked explore or takes our machine; a fixture of that name may be somebody else's."""
    if not isinstance(item, pytest.Function):
        return False
    machines = item._fixtureinfo.name2fixturedefs.get("machine", ())
    takes_machine = bool(machines) and machines[-1].func.__module__ == __name__
    return takes_machine or item.get_closest_marker("explore") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep other plugins from running our tests as tasks of their own."""
    for item in items:
        if _is_ours(item):
            item.own_markers = [mark for mark in item.own_markers if mark.name not in ("trio", "asyncio", "anyio")]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test of a machine."""
    __tracebackhide__ = True
    if not _is_ours(pyfuncitem):
        return None
    mark = pyfuncitem.get_closest_marker("explore")
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        pytest.fail("a test of the machine fixture must be an async function", pytrace=False)
    if "machine" not in arguments:
        pytest.fail("a test marked explore must take the machine fixture as a parameter", pytrace=False)
    from .explore.async_test import AsyncTest
    from .token import TokenError

    scenario: Any = arguments.pop("machine")
    function: Callable[..., Coroutine[Any, Any, None]] = pyfuncitem.obj
    endings = (KeyboardInterrupt, SystemExit, pytest.skip.Exception, pytest.xfail.Exception, pytest.exit.Exception)
    test = AsyncTest(
        scenario, lambda machine: function(machine=machine, **arguments), pyfuncitem.nodeid, endings=endings
    )
    token = pyfuncitem.config.getoption("--slubloom-token")
    if token:
        try:
            if not test.is_meant(token):
                pytest.skip("--slubloom-token is of another test")
            failure = test.replay(token)
        except TokenError as error:
            pytest.fail(f"--slubloom-token: {error}", pytrace=False)
    elif mark is None:
        failure = test.run_once()
    else:
        failure = _explore(pyfuncitem, test, mark)
    if failure is None:
        return True
    if failure.cause is None:
        pytest.fail(failure.text, pytrace=False)
    raise failure.exception() from failure.cause


MARK = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in (
            ("schedules", None),
            ("strategy", "portfolio"),
            ("seed", 0),
            ("budget", None),
            ("expect", None),
        )
    ]
)
"""What the mark explore takes."""


def _options(mark: pytest.Mark) -> tuple[CampaignOptions, str | None]:
    """The campaign a mark asks for, and the kind of violation it expects; fails the test where the mark is wrong."""
    from .actors.strategies import BY_NAME
    from .explore.campaign import PORTFOLIO, CampaignOptions
    from .topology.units import parse_duration

    try:
        bound = MARK.bind(*mark.args, **mark.kwargs)
        bound.apply_defaults()
        schedules, strategy, seed, budget, expect = bound.args
        budget_s = parse_duration(budget) if budget else None
    except (TypeError, ValueError) as error:
        pytest.fail(f"mark explore: {error}", pytrace=False)
    if strategy not in (PORTFOLIO, *BY_NAME):
        known = ", ".join((PORTFOLIO, *BY_NAME))
        pytest.fail(f"mark explore: there is no strategy {strategy!r}; there are: {known}", pytrace=False)
    if schedules is not None and (not isinstance(schedules, int) or schedules < 1):
        pytest.fail(f"mark explore: schedules={schedules!r} is not a number of at least 1", pytrace=False)
    if schedules is None and budget_s is None:
        schedules = SCHEDULES
    return CampaignOptions(strategy=strategy, schedules=schedules, budget_s=budget_s, seed=seed), expect


def _explore(item: pytest.Function, test: AsyncTest, mark: pytest.Mark) -> Failure | None:
    """Earlier failures first, then a campaign."""
    options, expect = _options(mark)
    if expect is not None:
        return test.expect(options, expect)
    cache = getattr(item.config, "cache", None)
    known: dict[str, list[str]] = cache.get(CACHE, {}) if cache is not None else {}
    tokens = known.get(item.nodeid, [])
    failure = next((found for token in tokens if (found := test.replay(token, known=True)) is not None), None)
    if failure is None:
        failure = test.explore(options)
    kept = [failure.token, *(token for token in tokens if token != failure.token)] if failure is not None else []
    kept = [token for token in kept if token]
    if cache is not None and kept != tokens:
        known = {nodeid: tokens for nodeid, tokens in known.items() if nodeid != item.nodeid}
        cache.set(CACHE, known | ({item.nodeid: kept[:TOKENS_KEPT]} if kept else {}))
    return failure
