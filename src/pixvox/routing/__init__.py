"""From a request to the target that serves it: routes, fallback, health, guards, and the operation span around it all.

Router   resolves a request to a plan
Plan     carries a call out, target by target
Target   is one provider and model at work
"""

from __future__ import annotations

from pixvox.routing.plans import Plan
from pixvox.routing.router import Router
from pixvox.routing.speech import Opened, RoutedSpeech
from pixvox.routing.states import TargetStates
from pixvox.routing.targets import Target

__all__ = ["Opened", "Plan", "RoutedSpeech", "Router", "Target", "TargetStates"]
