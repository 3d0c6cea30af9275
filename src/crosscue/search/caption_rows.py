"""Vectors of the captions of a space, one row a caption, for the search from an image to captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crosscue.progress import progress
from crosscue.search.indices import FRAGMENTS
from crosscue.search.schema import KEY, captions_schema, require_vectors, vector_array
from crosscue.search.writing import Writer

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder
    from crosscue.search.collection import Collection
    from crosscue.search.spaces import Space

TEXTS = 512
"""Captions that are encoded and written at once."""


def embed_captions(collection: Collection, space: Space, opens: Callable[[], Encoder], images: Any) -> int:
    """Brings the captions' table up to the captions of the images and returns the number that was encoded.

    The difference of both tables is the work, so that a run that was killed is continued by the next one.
    """
    table = collection.add_captions(space.name)
    writer = Writer(table, collection.table_folder(f"{space.name}.captions"))
    rows = images.search().select([KEY, "captions"]).to_arrow()
    wanted = {
        f"{one}-{place}": (one, caption)
        for one, captions in zip(rows[KEY].to_pylist(), rows["captions"].to_pylist(), strict=True)
        for place, caption in enumerate(captions or ())
    }
    kept = table.search().select([KEY, "caption"]).to_arrow()
    present = dict(zip(kept[KEY].to_pylist(), kept["caption"].to_pylist(), strict=True))
    missing = [one for one, (_, caption) in wanted.items() if present.get(one) != caption]
    width = space.identity.width
    with progress("encoding captions", len(missing), "captions") as advance:
        for start in range(0, len(missing), TEXTS):
            ids = missing[start : start + TEXTS]
            texts = [wanted[one][1] for one in ids]
            vectors = opens().encode_texts(texts).vectors
            require_vectors(vectors, width, texts)
            owners = pa.array([wanted[one][0] for one in ids])
            columns = [pa.array(ids), owners, pa.array(texts), vector_array(vectors, width)]
            writer.upsert(pa.Table.from_arrays(columns, schema=captions_schema(width)))
            advance(len(ids))
    writer.delete(sorted(present.keys() - wanted.keys()))
    if writer.fragments > FRAGMENTS:
        writer.tidy()
    return len(missing)
