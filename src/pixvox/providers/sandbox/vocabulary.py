"""The words by which plain English names each operation, and which reader of `phrases` reads what it is to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pixvox.providers.sandbox import phrases
from pixvox.providers.sandbox.operations import Invert, Operation, Posterize, Sepia, Sketch, Watercolor
from pixvox.providers.sandbox.phrases import LESS, MORE, QUOTE, TONES, UNQUOTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.providers.sandbox.phrases import Phrase

_IT = r"(?:(?:it|this|that|them|the|my|our|whole|entire|image|picture|photo|photograph|pic|result)\s+)"
_WRITING = (
    r"text|words?|caption|title|label|heading|writes?|writing|written|add|put|draw|insert|place|overlay|print|stamp|"
    r"say(?:s|ing)?|read(?:s|ing)|watermark|type|lettering|inscription|slogan|message"
)


def _always(operation: Operation) -> Callable[[Phrase], list[Operation]]:
    """Return a reader of names that say everything by themselves."""
    return lambda _: [operation]


_NAMES: tuple[tuple[str, Callable[[Phrase], list[Operation]]], ...] = (
    (
        (
            r"\b(?:gr[ae]y[- ]?scale[ds]?|(?:in)?to gr[ae]y\b|black[- ]?(?:and|&|n|'n'|\+)[- ]?white(?! (?:border|frame|text|letters|caption))|b ?(?:&|/|and|n) ?w\b|"
            r"monochrom\w*|desaturat\w*|colou?rless|(?:without|no) (?:any )?colou?rs?\b|"
            r"(?:remove|drain|strip|take)(?: out)? (?:all )?(?:of )?(?:the |its )?colou?rs?\b)"
        ),
        phrases.grey,
    ),
    (
        r"\bblur(?:red|ry|ring|s)?\b|\bdefocus\w*|\bsoft[- ]focus\b|\bsoften\w*|\bsmooth(?:en)?(?:ed|ing)?\b",
        phrases.blur,
    ),
    (
        rf"\bsharpen\w*|\bsharper\b|\bcrisper\b|\bunsharp mask\w*|\bmake {_IT}{{1,3}}(?:look )?(?:sharp|crisp)\b",
        phrases.sharpen,
    ),
    (rf"\b(?:(?:rotat\w+|turn(?:ed)?|flip(?:ped)?|put|make)\s+{_IT}{{0,3}})?upside[- ]down\b", phrases.rotate),
    (
        (
            rf"\brotat(?:e[ds]?|ing|ion)\b|\b(?:turn|tilt|spin)\s+{_IT}{{0,3}}(?:by\s+)?(?:[-+−]?\d+\s*(?:°|deg)|(?:to the )?"
            r"(?:left|right)\b|(?:counter|anti)?-?\s?clockwise|around\b)|\b(?:quarter|half)[- ]turn\b"
        ),
        phrases.rotate,
    ),
    (
        (
            r"\bmirror(?:ed)?[- ]image|\b(?:horizontal|vertical)(?:ly)? (?:flip|mirror)(?:ped|ed)?\b|"
            r"(?<!\ba )(?<!\bthe )(?<!\bin )(?<!\bthis )\b(?:flip|mirror)(?:ped|ping|ed|ing|s)?\b"
        ),
        phrases.flip,
    ),
    (
        (
            r"(?:\b(?:cent(?:er|re)|square|middle)[- ])?(?<!\ba )\bcrop(?:ped|ping|s)?\b(?! tops?\b)|"
            rf"\b(?:make|turn|cut|trim|change)\s+{_IT}{{1,3}}(?:in)?(?:to )?(?:be )?(?:an? )?"
            r"(?:square|wide ?screen|\d{1,2}:\d{1,2})(?: (?:aspect|ratio|format))*\b"
        ),
        phrases.crop,
    ),
    (
        (
            r"\bre-?(?:siz|scal|sampl)(?:e[ds]?|ing)\b|\b(?:down|up)-?\s?(?:scal|siz|sampl)(?:e[ds]?|ing)\b|"
            rf"\bscal(?:e[ds]?|ing)\b|\b(?:enlarg|shrink|shrunk)\w*|\bmake {_IT}{{1,3}}(?:\w+\s+){{0,3}}?(?:smaller|larger|bigger)\b|"
            rf"\bmake {_IT}{{1,3}}(?=\d{{2,5}}\s*(?:px|pixels?)?\s*(?:[x×*]|by)\s*\d{{2,5}}|\d+\s*(?:px|pixels?)\s*(?:wide|high|tall))|"
            rf"\b(?:doubl|halv|reduc|increas|tripl)\w*\s+{_IT}{{0,2}}(?:its )?(?:size|dimensions|resolution|width|height)\b|"
            r"\b(?:half|twice|double|triple|quarter)[- ]sized?\b|\b(?:half|twice|double|triple|a quarter|a third) (?:of )?(?:the|its|the original) (?:size|resolution)|"
            r"\b(?:half|twice) as (?:big|large|small|wide)"
        ),
        phrases.resize,
    ),
    (
        (
            rf"\b(?:(?:{MORE}|{LESS}|adjust|chang|set)\w*\s+(?:of\s+)?(?:the\s+|its\s+|overall\s+|image\s+)*)?"
            rf"\b(?:{TONES})\b(?:\s*(?:,|and|&|,\s*and)\s*(?:the\s+)?\b(?:{TONES})\b)*"
        ),
        phrases.tones,
    ),
    (rf"\bbright(?:en\w*|er)\b|\blight(?:en\w*|er)\b|\bmake {_IT}{{1,3}}(?:\w+ )?(?:bright|light)\b", phrases.brighten),
    (rf"\bdark(?:en\w*|er)\b|\bdimm?(?:er|ed|ing)?\b|\bmake {_IT}{{1,3}}(?:\w+ )?dark\b", phrases.darken),
    (
        r"\b(?:more|less|over|highly)[- ]?(?:saturated|colou?rful|vivid|vibrant)\b|\bsaturat(?:e|ing)\b|\bvivid\b|\bmuted colou?rs",
        phrases.saturate,
    ),
    (r"\b(?:more|less) contrasty\b|\bcontrast(?:y|ier)\b|\bpunch(?:y|ier)\b", phrases.contrast),
    (r"\bsepia\b|\bold[- ]photo(?:graph)?\b", _always(Sepia())),
    (
        (
            r"\binvert(?:ed|ing|s)?\b|\binverse colou?rs?\b|\b(?:photo|film|colou?r)[- ]?negative\b|"
            r"\b(?:reverse|opposite) (?:the |all )?colou?rs\b|\bnegative(?= (?:image|effect|version|film|photo|colou?rs?)|\s*(?:$|[,.;!]|and\b|then\b))"
        ),
        _always(Invert()),
    ),
    (r"\bborder(?:ed|s)?\b|\bframed?\b|\bframing\b|\bpasse-?partout\b", phrases.border),
    (
        (
            rf"\b(?:{_WRITING})\b(?:(?!\b(?:{_WRITING}|and|then)\b|[.;!?])[^{QUOTE}]){{0,60}}{QUOTE}\d+{QUOTE}"
            rf"(?:\s*(?:,|and|,\s*and)\s*{QUOTE}\d+{QUOTE})*"
        ),
        phrases.add_text,
    ),
    (r"\b" + UNQUOTED, phrases.add_text),
    (r"\bpixel(?:at\w+|i[sz]e\w*)\b|\bpixel[- ]art\b|\b8-?bit\b|\bmosaic (?:effect|filter)\b", phrases.pixelate),
    (r"\bvignett\w+", phrases.vignette),
    (
        (
            r"\bwater-? ?colou?r\w*(?: painting)?|\baquarelle\b|\bgouache\b|\b(?:oil|acrylic)[- ]paint\w*|\bimpressionis\w+|"
            r"\bpainterly\b|\b(?:like|as|into) an? (?:\w+ )?painting\b|\bpainting (?:effect|style|look)\b"
        ),
        _always(Watercolor()),
    ),
    (r"\bposteri[sz]\w*|\bpop[- ]art\b|\bcartoon\w*", _always(Posterize())),
    (r"\b(?:pencil|charcoal|line)[- ](?:sketch|drawing|art)\w*|\bsketch(?:ed|y)?\b", _always(Sketch())),
    (
        (
            r"\bside[- ]by[- ]side\b|\bcombin\w+|\bcollage\b|\bmontage\b|\bmerg(?:e[ds]?|ing)\b|\bstack(?:ed|ing)?\b|\bgrid\b|"
            r"\bnext to (?:each other|one another)|\bon top of (?:each other|one another)|\bstitch\w*|\bin a row\b|\bin one (?:image|picture)\b"
        ),
        phrases.compose,
    ),
)

VOCABULARY = tuple((re.compile(pattern, re.IGNORECASE), reader) for pattern, reader in _NAMES)
