"""The model's tools: what it is offered, whether its arguments fit, and the webhooks that carry them out."""
