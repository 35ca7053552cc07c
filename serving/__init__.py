"""What every gRPC server of Crosskey shares: errors, request ids, health, reflection, logs, drain."""
