"""The parts of a Qwen-Image-2.1 pipeline, each as small as its class allows: Qwen3-VL, and pictures with transparency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from diffusers import AutoencoderKLQwenImage21, QwenImage21Transformer2DModel
from transformers import Qwen2VLImageProcessorPil, Qwen3VLConfig, Qwen3VLForConditionalGeneration

if TYPE_CHECKING:
    from pathlib import Path

# A part of a pipeline: their constructors have no types in diffusers.
_Part: TypeAlias = Any
_Autoencoder: _Part = AutoencoderKLQwenImage21
_Transformer: _Part = QwenImage21Transformer2DModel

_TEXT_WIDTH = 32
_LATENT_CHANNELS = 8
_VISION_TILE = 32
# A message's content is a text or a list of parts, of which the text ones count: what the published template does with
# them.
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
)


def text_encoder(tokenizer: _Part) -> _Part:
    """Qwen3-VL of two layers."""
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": _TEXT_WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            # The three parts of a position, in pairs of the 16 channels of a head.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": _TEXT_WIDTH,
            "patch_size": 16,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen3VLForConditionalGeneration(config).eval()  # type: ignore[no-untyped-call]


def autoencoder() -> _Part:
    """Sixteenfold in space and four channels deep, as the real one."""
    return _Autoencoder(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=_LATENT_CHANNELS,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True, True],
        latents_mean=[0.0] * _LATENT_CHANNELS,
        latents_std=[1.0] * _LATENT_CHANNELS,
    ).eval()


def transformer() -> _Part:
    """Two blocks, in which text and pictures are one sequence."""
    return _Transformer(
        in_channels=_LATENT_CHANNELS,
        out_channels=_LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=_TEXT_WIDTH,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def save_processor(folder: Path, tokenizer: _Part) -> None:
    """What a Qwen3VLProcessor is made of. It must keep the size that the pipeline chose: each tile has its place there."""
    size = {"shortest_edge": _VISION_TILE**2, "longest_edge": 2048 * _VISION_TILE**2}
    Qwen2VLImageProcessorPil(
        size=size, patch_size=16, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    ).save_pretrained(folder)
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
