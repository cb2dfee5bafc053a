"""Where machines come from: this host, a simulated spot market, a Kubernetes cluster, RunPod."""
