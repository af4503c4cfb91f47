"""Turns the frames of codes that a talker makes into sound while it makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pixvox_worker.speech import FRAME_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox_worker.speech import Listener

_LOUDEST = 32_767


class Utterance:
    """One speech on its way out: a hook on the talker feeds it, and its listener is told at once."""

    def __init__(
        self,
        decode: Callable[[torch.Tensor], torch.Tensor],
        listener: Listener,
        *,
        context: int,
        first: int,
        most: int,
        before: torch.Tensor | None = None,
    ) -> None:
        """`decode` makes samples (1 x 1 x S) of codes (1 x groups x T).

        It is shown the last `context` frames before each piece again, as what it makes of a frame depends on them. A first
        piece has `first` frames, each further one twice as many as the last, up to `most`. `before` are the codes
        (T x groups) of the recording whose voice it is: the speech goes on where they end.
        """
        self._decode = decode
        self._listener = listener
        self._size = first
        self._most = most
        self._most_context = context
        self._context = [] if before is None else list(before[-context:])
        self._pending: list[torch.Tensor] = []
        self.frames = 0

    def hook(self, module: object, arguments: object, output: Any) -> None:  # noqa: ANN401 - the package has no types
        """After a step of the talker: it carries the codes of one frame, unless it was the one that read the prompt.

        Raises:
            Stopped: from the listener.
        """
        del module, arguments
        codes = output.hidden_states[-1]
        if codes is None:
            return
        self.frames += 1
        self._listener.frame(self.frames)
        self._pending.append(codes[0])
        if len(self._pending) >= self._size:
            self.flush()
            self._size = min(2 * self._size, self._most)

    def flush(self) -> None:
        """Let the listener have the frames that are left."""
        if not self._pending:
            return
        frames = [*self._context, *self._pending]
        samples = self._decode(torch.stack(frames, dim=1).unsqueeze(0)).reshape(-1)
        fresh = samples[len(self._context) * FRAME_SAMPLES :].float().clamp(-1.0, 1.0)
        pcm = (fresh * _LOUDEST).round().to(torch.int16).cpu().numpy()
        self._context = frames[-self._most_context :]
        self._pending = []
        self._listener.piece(bytes(pcm.astype("<i2").tobytes()))
