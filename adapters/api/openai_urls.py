"""Addresses as OpenAI's clients have them, below /v1/."""

from django.urls import path

from adapters.api import chat

urlpatterns = [
    path("models", chat.ModelsDoor.as_view()),
    path("models/<path:model>", chat.ModelDoor.as_view()),
    path("chat/completions", chat.ChatDoor.as_view()),
]
