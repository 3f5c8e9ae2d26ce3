"""The kernels that agents alone run; built as those of `rss_env.kernels`."""
