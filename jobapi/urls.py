"""The addresses of the API, version 1: none ends in a slash."""

from rest_framework.routers import SimpleRouter

from jobapi.views import JobViewSet, QueueViewSet, WorkerViewSet

router = SimpleRouter(trailing_slash=False)
router.register("jobs", JobViewSet, basename="job")
router.register("queues", QueueViewSet, basename="queue")
router.register("workers", WorkerViewSet, basename="worker")

urlpatterns = router.urls
