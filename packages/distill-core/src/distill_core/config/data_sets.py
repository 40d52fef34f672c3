"""The data sets of a run, as its section ``data`` lists them. Opens none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from distill_core.config.document import Document, KeyPath
from distill_core.config.schema import Data, MixedData
from distill_core.config.suggest import closest
from distill_core.errors import Problem
from distill_core.hub import may_be_hub_id


@dataclass(frozen=True)
class ListedData:
    """One data set of a run.

    Attributes:
        key: where its path stands in run.yaml.
        path: the path.
        name: what ``data.weights`` calls it.
        repeats: how often an epoch goes through its rows.
        share: the share of all samples that are drawn from it, in (0, 1]; None where data sets have no weights.
    """

    key: KeyPath
    path: str
    name: str
    repeats: int
    share: Fraction | None


@dataclass(frozen=True)
class HubData:
    """A data set of the Hugging Face Hub.

    Attributes:
        hub_id: ``owner/name``.
        revision: a branch, a tag or a commit; None is the main branch, whatever it is by then.
    """

    hub_id: str
    revision: str | None


def hub_data(path: str) -> HubData | None:
    """What ``owner/name`` or ``owner/name@REVISION`` means; None for a path of this disk, whether something is there or not."""
    hub_id, at, revision = path.partition("@")
    if not may_be_hub_id(hub_id) or path.endswith(".parquet") or (at and not revision):
        return None
    return HubData(hub_id, revision if at else None)


def listed_data(data: Data) -> tuple[ListedData, ...]:
    """Every data set of a section, ``data.path`` first."""
    shares = _shares(data)
    places: list[tuple[KeyPath, Data | MixedData]] = [(("data", "path"), data)]
    places += [(("data", "mix", number, "path"), more) for number, more in enumerate(data.mix)]
    return tuple(
        ListedData(key, each.path, name := _name(each), each.repeats, shares.get(name)) for key, each in places
    )


def weights(data: Data, document: Document) -> Iterator[Problem]:
    """Weights of data sets that are not there, data sets without one, two of one name, and weights beside repeats."""
    if data.weights is None:
        return
    listed = listed_data(data)
    names = [each.name for each in listed]
    for name, count in Counter(names).items():
        if count > 1:
            keys = " and ".join(".".join(map(str, each.key)) for each in listed if each.name == name)
            message = f"{keys} are both called {name!r}; give them names of their own by the key `name`"
            yield document.problem(("data", "weights"), message)
    missing = [name for name in dict.fromkeys(names) if name not in data.weights]
    for name in data.weights:
        if name not in names:
            meant = closest(name, missing)
            missing = [other for other in missing if other != meant]
            remedy = "; remove it" if meant is None else f"; did you mean `{meant}`?"
            message = f"no data set has this name, there are {', '.join(dict.fromkeys(names))}{remedy}"
            yield document.problem(("data", "weights", name), message)
    if missing:
        message = f"{', '.join(missing)} has no weight; where one data set has a weight, each needs one"
        yield document.problem(("data", "weights"), message)
    for each in listed:
        if each.repeats != 1:
            message = "data.weights says how often rows are drawn already; remove one of the two"
            yield document.problem((*each.key[:-1], "repeats"), message)


def _name(section: Data | MixedData) -> str:
    """What weights call a data set: its own name, or the last part of its path."""
    if section.name is not None:
        return section.name
    hub = hub_data(section.path)
    return PurePath(section.path if hub is None else hub.hub_id).name.removesuffix(".parquet")


def _shares(data: Data) -> dict[str, Fraction]:
    """The shares of the data sets by their names, exactly as they are written in decimals; empty without weights."""
    exact = {name: Fraction(str(weight)) for name, weight in ({} if data.weights is None else data.weights).items()}
    total = sum(exact.values(), Fraction(0))
    return {name: weight / total for name, weight in exact.items()}
