"""What is measured or computed: one public module a metric."""
