"""What other libraries run in environments of their own, by
`make test-interchange` and `make test-vllm`."""
