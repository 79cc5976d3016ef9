"""The staff dashboard: pages in Django's admin that show queues, jobs and workers, and act on them."""
