"""The contract `pixvox.v1`, generated from protos/pixvox/v1 by scripts/generate.py."""
