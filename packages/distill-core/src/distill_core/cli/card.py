"""The card of one plugin, for ``distill plugins show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple

from distill_core.cli.table import print_table
from distill_core.errors import PluginError
from distill_core.plugins.index import PluginRow
from distill_core.plugins.options import option_rows
from distill_core.plugins.reward_spec import RewardSpec
from distill_core.plugins.specs import ImporterSpec, MethodSpec, MetricSpec, ModelSpec, PluginSpec, RoleNeed
from distill_core.terminal import answer

OPTIONS_KEY = {
    "model": "pipeline_config", "method": "method_config", "metric": "metrics", "reward": "rewards", "importer": "options",
}  # fmt: skip
"""Where in a run.yaml the options of a kind stand."""


def card(row: PluginRow) -> dict[str, object]:
    """All that the card says, for ``--json``."""
    return {
        **row.as_json(),
        **_needs(row.spec),
        "options": [] if row.spec is None else [asdict(option) for option in option_rows(row.spec.options)],
    }


def _needs(spec: PluginSpec | None) -> dict[str, object]:
    match spec:
        case ModelSpec():
            return {
                "inspect": spec.inspect,
                "build": spec.build,
                "operations": sorted(spec.operations),
                "attention": list(spec.attention),
                "latent_spaces": list(spec.latent_spaces),
                "lora": {name: list(patterns) for name, patterns in spec.lora.targets.items()},
            }
        case MethodSpec():
            return {"build": spec.build, "roles": {name: _need(need) for name, need in spec.roles.items()}}
        case MetricSpec():
            return {"build": spec.build, "headline": list(spec.headline)}
        case RewardSpec():
            return {"build": spec.build, "differentiable": spec.differentiable}
        case ImporterSpec():
            return {"build": spec.build}
        case None:
            return {}


def _need(need: RoleNeed) -> dict[str, object]:
    own = {"module": need.module, "follows": need.follows}
    source = {key: value for key, value in own.items() if value is not None}
    return {"trainable": need.trainable, "optional": need.optional, "operations": sorted(need.operations), **source}


def schema_of(rows: Sequence[PluginRow]) -> dict[str, object]:
    """The JSON Schema of the options of the one plugin in ``rows``. Raises PluginError where they are several, or not known."""
    if len(rows) > 1:
        them = ", ".join(f"the {row.kind} {row.name!r} of {row.package}" for row in rows)
        raise PluginError(f"one schema is asked for, and there are {them}; leave out the others with --no-plugin")
    (row,) = rows
    if row.spec is None:
        raise PluginError(f"the options of {row.name!r} are not known: {row.plight}")
    return row.spec.options.model_json_schema()


def print_card(row: PluginRow) -> None:
    """Print the card: facts first, then roles, then options."""
    facts: dict[str, str] = {
        "name": row.name,
        "kind": row.kind,
        "summary": row.summary,
        "package": f"{row.package} {row.version}",
        "entry point": row.entry_point,
        "status": row.status_line if row.status != "blocked" else f"blocked: {row.error}",
    }
    match row.spec:
        case ModelSpec() as model:
            facts |= {"inspect": model.inspect, "build": model.build, "operations": ", ".join(sorted(model.operations))}
            facts |= {"attention": ", ".join(model.attention), "latent spaces": ", ".join(model.latent_spaces)}
            facts["lora targets"] = ", ".join(model.lora.sets)
        case MethodSpec() as method:
            facts["build"] = method.build
        case MetricSpec() as metric:
            facts |= {"build": metric.build, "headline": ", ".join(metric.headline)}
        case RewardSpec() as reward:
            facts |= {"build": reward.build, "gradient": "to the pixels" if reward.differentiable else "none"}
        case ImporterSpec() as importer:
            facts["build"] = importer.build
        case None:
            pass
    _print_facts(facts)
    if isinstance(row.spec, MethodSpec):
        _print_section("roles", ("NAME", "TRAINABLE", "PRESENCE", "OPERATIONS"), _role_rows(row.spec.roles))
    if row.spec is not None:
        options = [astuple(option) for option in option_rows(row.spec.options)]
        _print_section(OPTIONS_KEY[row.kind], ("NAME", "TYPE", "DEFAULT", "MEANING"), options)


def _print_facts(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        if value:
            answer(f"{name:{width}}  {value}")


def _role_rows(roles: Mapping[str, RoleNeed]) -> list[tuple[str, str, str, str]]:
    return [
        (
            name,
            "true" if need.trainable else "false",
            _presence(need),
            ", ".join(sorted(need.operations)),
        )
        for name, need in roles.items()
    ]


def _presence(need: RoleNeed) -> str:
    """Whether a run.yaml must name the role, and where one that it need not name comes from."""
    if need.module is not None:
        return "the method's own module"
    if need.follows is not None:
        return f"follows {need.follows}"
    if need.rewards:
        return "the run's rewards"
    return "optional" if need.optional else "required"


def _print_section(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    answer(f"\n{title}")
    if rows:
        print_table(headers, rows)
    else:
        answer("none")
