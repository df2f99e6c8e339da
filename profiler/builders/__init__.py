"""From a workload to an artifact: one public module a runtime."""
