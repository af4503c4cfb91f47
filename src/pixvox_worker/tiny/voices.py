"""A Qwen3-TTS 12Hz checkpoint of each kind, every part as small as its class allows, and the folder that it is saved to.

Three things are not as the classes would leave them: the saved configuration of the speaker encoder loses the keys that it
inherits, as its own constructor takes none of them; all weights are drawn anew, as the codebooks of the decoder begin at zero
and the others are so small that the sound would be silence; "assistant" is one token, as the package counts on it.
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pixvox_worker.engines.stand_ins import import_qwen_tts

if TYPE_CHECKING:
    from pathlib import Path

# A part of the checkpoint: the package has no types.
_Part: TypeAlias = Any
# Of another release where the types are checked.
_transformers: Any = transformers

KINDS = {
    "qwen3-tts-custom-voice": "custom_voice",
    "qwen3-tts-voice-design": "voice_design",
    "qwen3-tts-base": "base",
}
"""By the name on the command line, what the checkpoint calls itself."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")
_WORD = "assistant"
_WIDTH = 32
_CODES = 64
_GROUPS = 4
# Behind the codes, in the thousand numbers that the model may not say.
_MARKS = ("pad", "bos", "eos", "think", "nothink", "think_bos", "think_eos")
_LANGUAGES = ("chinese", "english", "german")
_SPEAKERS = ("vivian", "ryan")
_RESERVED = 1_024


def build(kind: str, folder: Path, *, seed: int = 0) -> None:
    """Save a checkpoint of `kind` to `folder`, as the published ones are laid out; equal seeds give equal weights.

    Raises:
        KeyError: `kind` is none of `KINDS`.
    """
    import_qwen_tts()
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(KINDS[kind], tokenizer)
        codec = _codec()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.9, "top_k": 50}))
    _strip(folder / "config.json", type(model.config.speaker_encoder_config))
    codec.save_pretrained(folder / "speech_tokenizer")
    _transformers.EncodecFeatureExtractor(feature_size=1, sampling_rate=24_000).save_pretrained(
        folder / "speech_tokenizer"
    )


def _tokenizer() -> _Part:
    """One token per byte, and the merges that make one word of "assistant"."""
    pieces = [_WORD[:length] for length in range(2, len(_WORD) + 1)]
    merges = [(piece[:-1], piece[-1]) for piece in pieces]
    symbols = (*sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces)
    core = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(symbols)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in _SPECIAL])
    return _transformers.Qwen2TokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106


def _model(kind: str, tokenizer: _Part) -> _Part:
    classes = importlib.import_module("qwen_tts.core.models.modeling_qwen3_tts")
    number = tokenizer.convert_tokens_to_ids
    config = classes.Qwen3TTSConfig(
        talker_config=_talker(len(tokenizer)),
        # The last channel count is what the three blocks in between come to together.
        speaker_encoder_config={
            "enc_dim": _WIDTH,
            "enc_channels": [16, 16, 16, 16, 48],
            "enc_attention_channels": 16,
            "enc_res2net_scale": 2,
            "enc_se_channels": 8,
        },
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size="1b7",
        tts_model_type=kind,
        im_start_token_id=number("<|im_start|>"),
        im_end_token_id=number("<|im_end|>"),
        tts_pad_token_id=number("<tts_pad>"),
        tts_bos_token_id=number("<tts_text_bos>"),
        tts_eos_token_id=number("<tts_text_eod>"),
    )
    model = classes.Qwen3TTSForConditionalGeneration(config).eval()
    # More than a layer needs to keep its size: every part of the prompt shall be heard.
    _draw(model, 1.5)
    return model


def _talker(text_tokens: int) -> dict[str, Any]:
    numbers = iter(range(_CODES, _CODES + _RESERVED))
    marks = {f"codec_{mark}{'_token' if mark == 'eos' else ''}_id": next(numbers) for mark in _MARKS}
    speakers = {name: next(numbers) for name in _SPEAKERS}
    attention = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    return {
        **marks,
        **attention,
        "vocab_size": _CODES + _RESERVED,
        "hidden_size": _WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "text_vocab_size": -(-text_tokens // 64) * 64,
        "text_hidden_size": _WIDTH,
        "num_code_groups": _GROUPS,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "interleaved": True},
        "spk_id": speakers,
        "spk_is_dialect": dict.fromkeys(speakers, False),
        "codec_language_id": {name: next(numbers) for name in _LANGUAGES},
        "code_predictor_config": {
            **attention,
            "vocab_size": _CODES,
            "hidden_size": _WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_code_groups": _GROUPS,
        },
    }


def _codec() -> _Part:
    """What makes codes of a recording and sound of codes."""
    classes = importlib.import_module("qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2")
    encoder = {
        "num_filters": 4,
        "hidden_size": _WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "codebook_size": _CODES,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "num_quantizers": _GROUPS,
        "upsample_groups": _WIDTH,
    }
    decoder = {
        "codebook_size": _CODES,
        "codebook_dim": _WIDTH,
        "hidden_size": _WIDTH,
        "latent_dim": _WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_quantizers": _GROUPS,
        "decoder_dim": _WIDTH,
    }
    config = classes.Qwen3TTSTokenizerV2Config(
        encoder_config=encoder, decoder_config=decoder, encoder_valid_num_quantizers=_GROUPS
    )
    model = classes.Qwen3TTSTokenizerV2Model(config).eval()
    _draw(model.decoder, 0.7)
    return model


def _draw(model: _Part, gain: float) -> None:
    """Draw the weights so that what comes out of a layer is about `gain` times as large as what went in."""
    for name, weights in model.named_parameters():
        if weights.dim() > 1:
            inputs = 1.0 if "embed" in name else weights[0].numel()
            weights.data.normal_(std=gain / inputs**0.5)


def _strip(file: Path, speaker_encoder: type) -> None:
    """Leave the speaker encoder the keys that its constructor takes."""
    content = json.loads(file.read_text())
    taken = inspect.signature(speaker_encoder).parameters
    kept = {key: value for key, value in content["speaker_encoder_config"].items() if key in taken}
    content["speaker_encoder_config"] = kept
    file.write_text(json.dumps(content, indent=2))
