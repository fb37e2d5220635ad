"""Decode-step kernels: native CPU code (`build`, `native`) and their reference in plain torch."""
