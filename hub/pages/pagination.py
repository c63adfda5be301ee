"""Pages of the REST API."""

from rest_framework.pagination import PageNumberPagination


class ApiPagination(PageNumberPagination):
    """`?page=2&page_size=50`; answers {count, next, previous, results}."""

    page_size = 30
    page_size_query_param = "page_size"
    max_page_size = 100
