"""An export folder as an encoder, on ONNX Runtime; torch is not needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Encoded, Explanation, Floats, Identity, Pixels
from crosscue.encoding.export_folder import ExportRecord, is_export, read_record
from crosscue.encoding.hubness import TextBank, load_text_bank
from crosscue.encoding.images import normalised
from crosscue.encoding.occlusion import explained
from crosscue.encoding.texts import TextTokenizer
from crosscue.errors import MethodError, OptionError, RunError, suggestion

__all__ = ["OnnxEncoder", "is_export"]

TEXTS, IMAGES = 32, 16
"""Texts and images that are encoded at once."""


class Tower:
    """One graph, loaded when it is first needed. Threads may share it."""

    def __init__(self, file: Path, threads: int | None) -> None:
        self.file, self.threads = file, threads
        self._session: Any = None
        self._alone = threading.Lock()

    def __call__(self, values: np.ndarray[Any, Any]) -> Floats:
        """(B, ...) -> (B, D) unit vectors."""
        session = self.session()
        found: Floats = session.run(None, {session.get_inputs()[0].name: values})[0]
        return found

    def session(self) -> Any:
        """Returns the session of ONNX Runtime.

        Raises:
            RunError: the file is missing or damaged.
        """
        with self._alone:
            if self._session is None:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.log_severity_level = 3
                options.add_session_config_entry(
                    "session.intra_op.allow_spinning", "0"
                )  # waiting threads cost more than a text
                if self.threads is not None:
                    options.intra_op_num_threads = self.threads
                try:
                    self._session = onnxruntime.InferenceSession(
                        str(self.file), options, providers=["CPUExecutionProvider"]
                    )
                except Exception as error:  # ONNX Runtime has no common class of errors
                    reason = str(error).splitlines()[0][:160]
                    raise RunError(f"{self.file}: cannot be loaded ({reason}). Export the run again.") from error
            return self._session


class OnnxEncoder:
    """An export folder as an `Encoder`."""

    rerank_modes: tuple[str, ...] = ()

    def __init__(self, folder: Path, precision: str = "auto", threads: int | None = None) -> None:
        """Reads the record of the export; the towers are loaded when they are first needed.

        Args:
            folder: the export folder.
            precision: fp32, w8, or auto: the first of the two that the folder has.
            threads: most threads of a tower; default all cores.

        Raises:
            RunError: the folder is no export, or damaged.
            OptionError: the export has no such precision.
        """
        self.folder = folder
        self.record: ExportRecord = read_record(folder)
        chosen = self.record.precisions[0] if precision == "auto" else precision
        if chosen not in self.record.precisions:
            raise OptionError(f"{folder}: no precision '{precision}'.{suggestion(precision, self.record.precisions)}")
        self.identity: Identity = self.record.identity(folder, chosen)
        self.pixels: PixelSpec = self.record.pixels
        name = "model.onnx" if chosen == "fp32" else f"model.{chosen}.onnx"
        self._image = Tower(folder / "visual" / name, threads)
        self._text = Tower(folder / "textual" / name, threads)
        self._alone = threading.Lock()

    @cached_property
    def bank(self) -> TextBank | None:
        """Training captions for the correction of hubness; None where the run has none."""
        return load_text_bank(self.folder / "bank.safetensors", self.record.bank_reading)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """Tokenizer of the export."""
        record = self.record
        return TextTokenizer(self.folder / "textual" / "tokenizer.json", record.context_length, record.pad)

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """See `Encoder.encode_texts`."""
        vectors = np.empty((len(texts), self.identity.width), np.float32)
        truncated = np.zeros(len(texts), np.int64)
        with self._alone:
            tokenizer = self.tokenizer
        order = sorted(range(len(texts)), key=lambda index: len(texts[index].encode()))  # little padding
        for start in range(0, len(order), TEXTS):
            rows = order[start : start + TEXTS]
            tokens = tokenizer([texts[row] for row in rows])
            vectors[rows], truncated[rows] = self._text(tokens.ids), tokens.truncated
        return Encoded(vectors, truncated)

    def encode_images(self, pixels: Pixels) -> Floats:
        """See `Encoder.encode_images`."""
        parts = [
            self._image(normalised(pixels[start : start + IMAGES], self.pixels))
            for start in range(0, len(pixels), IMAGES)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.identity.width), np.float32)

    def explain(self, pixels: Pixels, text: str) -> Explanation:
        """See `Explainer.explain`: by occlusion of cells and by words left out."""
        return explained(self, pixels, text)

    def rerank(self, mode: str, text: str, pixels: Pixels, plain: Floats) -> Floats:
        """Raises `MethodError`: an export has no re-ranking."""
        raise MethodError(
            f"an export has no re-ranking '{mode}'. Search with the run folder of '{self.identity.method}' on --runtime torch."
        )

    def uncertainty(self, scores: Floats) -> float | None:
        """Returns None: an export has no uncertainty."""
        return None
