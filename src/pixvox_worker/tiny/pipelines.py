"""The parts of the Qwen-Image pipelines, each as small as its class allows, and the folder that they are saved to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import diffusers
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageLayeredPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLImageProcessorPil

from pixvox_worker.tiny import qwen_image_21

if TYPE_CHECKING:
    from pathlib import Path

# A part of a pipeline: their constructors have no types in diffusers.
_Part: TypeAlias = Any
_Autoencoder: _Part = AutoencoderKLQwenImage
_Transformer: _Part = QwenImageTransformer2DModel
_Scheduler: _Part = FlowMatchEulerDiscreteScheduler

_PIPELINES: dict[str, Any] = {
    "qwen-image": QwenImagePipeline,
    "qwen-image-edit": QwenImageEditPipeline,
    "qwen-image-edit-plus": QwenImageEditPlusPipeline,
    "qwen-image-layered": QwenImageLayeredPipeline,
}
_TWO_POINT_ONE = "qwen-image-2.1"
KINDS = (*_PIPELINES, _TWO_POINT_ONE)

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TEXT_WIDTH = 16
_VISION_TILE = 28


def build(kind: str, folder: Path, *, seed: int = 0) -> None:
    """Save a pipeline of `kind` to `folder`, as `save_pretrained` would; equal seeds give equal weights.

    Raises:
        KeyError: `kind` is none of `KINDS`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == _TWO_POINT_ONE:
            _build_21(folder)
            return
        parts = _parts(layered=kind == "qwen-image-layered")
    pipeline_class = _PIPELINES[kind]
    if kind == "qwen-image":
        pipeline_class(**parts).save_pretrained(folder)
        return
    pipeline_class(**parts, processor=None).save_pretrained(folder)
    _save_processor(folder, parts["tokenizer"])


def _build_21(folder: Path) -> None:
    """Part by part, as its class cannot be made without the processor that torchvision is needed for."""
    tokenizer = _tokenizer()
    parts = {
        "vae": qwen_image_21.autoencoder(),
        "text_encoder": qwen_image_21.text_encoder(tokenizer),
        "transformer": qwen_image_21.transformer(),
        "scheduler": _scheduler(),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    qwen_image_21.save_processor(folder / "processor", tokenizer)
    libraries = {name: "transformers" if name == "text_encoder" else "diffusers" for name in parts}
    index = {
        "_class_name": "QwenImage21Pipeline",
        "_diffusers_version": diffusers.__version__,
        **{name: [libraries[name], type(part).__name__] for name, part in parts.items()},
        "processor": ["transformers", "Qwen3VLProcessor"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def _parts(*, layered: bool) -> dict[str, Any]:
    tokenizer = _tokenizer()
    # Layers are told from latents by their number of channels, so that the two must differ.
    channels = 8 if layered else 4
    return {
        "tokenizer": tokenizer,
        "text_encoder": _text_encoder(tokenizer),
        "vae": _autoencoder(channels, pixels=4 if layered else 3),
        "transformer": _transformer(channels, layered=layered),
        "scheduler": _scheduler(),
    }


def _tokenizer() -> _Part:
    """One token per byte and the marks of the Qwen chat template; the marks have no merges to be split into."""
    symbols = sorted(ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate((*symbols, *_SPECIAL))}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], extra_special_tokens=list(_SPECIAL), model_max_length=8192)


def _text_encoder(tokenizer: _Part) -> _Part:
    vocabulary_size = -(-len(tokenizer) // 64) * 64
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary_size,
            "hidden_size": _TEXT_WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            # The three parts of a position, in pairs of the 8 channels of a head.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [1, 1, 2]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": _TEXT_WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]


def _autoencoder(channels: int, *, pixels: int) -> _Part:
    """Sixteenfold in space, where the real one is eightfold: an edit always encodes about a megapixel, and the
    attention in the middle is quadratic in what is left of it."""
    return _Autoencoder(
        base_dim=4,
        z_dim=channels,
        input_channels=pixels,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True, False],
        latents_mean=[0.0] * channels,
        latents_std=[1.0] * channels,
    ).eval()


def _transformer(channels: int, *, layered: bool) -> _Part:
    return _Transformer(
        patch_size=2,
        in_channels=channels * 4,
        out_channels=channels,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=_TEXT_WIDTH,
        axes_dims_rope=(8, 4, 4),
        use_additional_t_cond=layered,
        use_layer3d_rope=layered,
    ).eval()


def _scheduler() -> _Part:
    """The dynamic shift of the published checkpoints."""
    return _Scheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift=1.0,
        shift_terminal=0.02,
        time_shift_type="exponential",
        use_dynamic_shifting=True,
    )


def _save_processor(folder: Path, tokenizer: _Part) -> None:
    """Save what a Qwen2VLProcessor is made of; the class itself cannot be made where torchvision is missing."""
    processor = folder / "processor"
    # Sixteen tiles at most, so that the vision tower has little to look at.
    size = {"shortest_edge": _VISION_TILE**2, "longest_edge": 16 * _VISION_TILE**2}
    Qwen2VLImageProcessorPil(size=size).save_pretrained(processor)
    tokenizer.save_pretrained(processor)
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content["processor"] = ["transformers", "Qwen2VLProcessor"]
    index.write_text(json.dumps(content, indent=2))
