"""Tests of stepscale, one file a block or part."""
