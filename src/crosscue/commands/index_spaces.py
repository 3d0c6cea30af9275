"""The spaces of an indexing run, what opens their encoders, and the workers that encode for them."""

from __future__ import annotations

import functools
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.errors import CollectionError

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder
    from crosscue.search.collection import Collection
    from crosscue.search.engines import Engine
    from crosscue.search.indexing import Opens, Spread
    from crosscue.search.spaces import Space

OPENING = ("runtime", "precision", "device", "backbone")
"""Options of `open_encoder`."""


def opening_of(given: Any) -> dict[str, Any]:
    """Returns the options that open an encoder."""
    return {name: getattr(given, name) for name in OPENING}


def no_run(place: Path) -> CollectionError:
    """Returns the error of a collection that knows no run yet."""
    return CollectionError(
        f"{place}: no run to encode with. Name one: crosscue index FOLDER --run RUN --collection {shlex.quote(str(place))} "
        "(zero_shot is the backbone as it is)"
    )


def encoder_of_run(given: Any) -> Encoder | None:
    """Returns the encoder of `--run`; None without it."""
    from crosscue.opening import open_encoder

    return None if given.run is None else open_encoder(given.run, **opening_of(given))


def spaces_of(given: Any, encoder: Encoder | None, collection: Collection) -> list[tuple[Space, Opens]]:
    """Returns the spaces to index, each with what opens its encoder: that of `--run`, or all that are there."""
    from crosscue.opening import encoder_of
    from crosscue.search.spaces import space_name

    options = opening_of(given)
    if encoder is not None:
        name, folder = given.name or space_name(given.run), Path(given.run)
        identity = replace(encoder.identity, source=str(folder.resolve()) if folder.exists() else given.run)
        kept = collection.spaces.get(name)
        if given.replace and kept is not None and kept.identity.run != identity.run:
            collection.drop_space(name)
        return [(collection.add_space(name, identity), lambda: encoder)]
    if not collection.spaces:
        raise no_run(collection.folder)

    def opening(space: Space) -> Opens:
        @functools.cache
        def opens() -> Encoder:
            encoder = encoder_of(space.identity, **options)
            collection.add_space(space.name, encoder.identity)  # refuses another run
            return encoder

        return opens

    chosen = [collection.space(given.name)] if given.name else list(collection.spaces.values())
    return [(space, opening(space)) for space in chosen]


def spread_of(given: Any, space: Space) -> Spread | None:
    """Returns the workers of `--workers`; None without it."""
    if given.workers is None:
        return None
    from crosscue.opening import encoder_of
    from crosscue.search.indexing import Spread

    chosen = {"shard": given.shard, "interval": given.commit_seconds}
    return Spread(
        _engine(given),
        functools.partial(encoder_of, space.identity, **opening_of(given)),
        **{name: value for name, value in chosen.items() if value is not None},
    )


def _engine(given: Any) -> Engine:
    if given.engine == "local":
        from crosscue.search.engines import Local

        return Local(given.workers)
    from crosscue.search.engines_ray import RayActors

    chosen = {"address": given.ray_address, "cpus": given.cpus_per_worker, "gpus": given.gpus_per_worker}
    return RayActors(given.workers, **{name: value for name, value in chosen.items() if value is not None})
