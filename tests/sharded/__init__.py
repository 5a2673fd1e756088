"""Tests of verbs on DTensors."""
