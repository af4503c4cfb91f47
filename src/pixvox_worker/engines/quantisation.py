"""The weights of the large parts of a pipeline in eight or four bits, as they are read; the autoencoder is left alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import diffusers
import transformers

from pixvox_worker.settings import Offload, Quantisation

if TYPE_CHECKING:
    import torch

_LIBRARIES = {Quantisation.INT8: "torchao", Quantisation.FP8: "torchao", Quantisation.NF4: "bitsandbytes"}
# Untyped in both libraries.
_diffusers: Any = diffusers
_transformers: Any = transformers


def config(wanted: Quantisation, offload: Offload, device: str, dtype: torch.dtype) -> Any:  # noqa: ANN401 - see above
    """What `from_pretrained` takes as `quantization_config`, or None.

    Raises:
        RuntimeError: the library or the device for it is missing, or `offload` does not go with it.
    """
    if wanted is Quantisation.NONE:
        return None
    _check(wanted, offload, device)
    makers = (_diffusers, _transformers)
    if wanted is Quantisation.NF4:
        for_transformer, for_text = (_four_bits(library, dtype) for library in makers)
    else:
        for_transformer, for_text = (library.TorchAoConfig(_weights(wanted)) for library in makers)
    return _diffusers.PipelineQuantizationConfig(
        quant_mapping={"transformer": for_transformer, "text_encoder": for_text}
    )


def _check(wanted: Quantisation, offload: Offload, device: str) -> None:
    library = _LIBRARIES[wanted]
    if wanted is Quantisation.NF4 and device != "cuda":
        message = f"QUANT={wanted} needs CUDA, and the device is {device}."
        raise RuntimeError(message)
    if offload is Offload.SEQUENTIAL:
        # accelerate takes every weight off its module, and these are no plain tensors.
        message = f"QUANT={wanted} does not go with OFFLOAD=sequential; model and group are left."
        raise RuntimeError(message)
    try:
        importlib.import_module(library)
    except ImportError as error:
        message = f"QUANT={wanted} needs {library}, which is not installed."
        raise RuntimeError(message) from error


def _weights(wanted: Quantisation) -> Any:  # noqa: ANN401 - a class of torchao
    recipes: Any = importlib.import_module("torchao.quantization")
    return recipes.Int8WeightOnlyConfig() if wanted is Quantisation.INT8 else recipes.Float8WeightOnlyConfig()


def _four_bits(library: Any, dtype: torch.dtype) -> Any:  # noqa: ANN401 - see above
    return library.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
