"""Carry vectors from one model to another."""
