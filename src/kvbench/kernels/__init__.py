"""Decode-step kernels: native CPU code (`build`, `native`) and plain torch twins (`reference`)."""
