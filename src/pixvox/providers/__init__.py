"""The providers of this distribution, one module or package for each kind."""
