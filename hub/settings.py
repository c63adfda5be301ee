"""All settings, from environment variables alone, grouped by topic. `hub/checks.py` says what is missing or unsafe."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# --- the place -------------------------------------------------------------------------------------------------------
STATE = Path(env.str("TESSERA_STATE", default=str(BASE_DIR / ".tessera")))
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SITE_NAME = "Tessera"
WEBHOOK_PRIVATE_ADDRESSES = env.bool("WEBHOOK_PRIVATE_ADDRESSES", default=False)  # for hubs in a closed network
UPSTREAM_URL = env.str("UPSTREAM_URL", default="").rstrip("/")  # another hub, for models whose owner is unknown here
TEXT_ENCODER = env.str("TEXT_ENCODER", default="")  # a model folder; empty: the installed MiniLM

# --- services --------------------------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", default="")
DATABASES = {"default": env.db_url_config(DATABASE_URL or "postgres:///tessera")}
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"].setdefault("OPTIONS", {})["options"] = (
    f"-c statement_timeout={env.int('STATEMENT_TIMEOUT_MS', default=60_000)}"
    " -c lock_timeout=5000 -c idle_in_transaction_session_timeout=60000"
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

BROKER_URL = env.str("BROKER_URL", default="")
CACHE_URL = env.str("CACHE_URL", default=BROKER_URL)
CACHES: dict[str, dict[str, object]] = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL, "KEY_PREFIX": "tessera"}
        if CACHE_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", default="")
S3_PUBLIC_ENDPOINT_URL = env.str("S3_PUBLIC_ENDPOINT_URL", default=S3_ENDPOINT_URL)
S3_ACCESS_KEY_ID = env.str("S3_ACCESS_KEY_ID", default="")
S3_SECRET_ACCESS_KEY = env.str("S3_SECRET_ACCESS_KEY", default="")
S3_BUCKET = env.str("S3_BUCKET", default="tessera")
S3_REGION = env.str("S3_REGION", default="us-east-1")

CELERY_BROKER_URL = BROKER_URL or "redis://127.0.0.1:6379/0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False  # the reaper decides, by the job's lease
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "fast"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 2 * 3600}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "reap-lost-jobs": {"task": "hub.jobs.reap", "schedule": 15.0},
    "resend-waiting-jobs": {"task": "hub.jobs.resend", "schedule": 60.0},
    "sweep-store": {"task": "hub.repos.sweep", "schedule": 3600.0},
    "review-due": {"task": "hub.review.due", "schedule": 60.0},
    "review-tidy": {"task": "hub.review.tidy", "schedule": 3600.0},
    "mail-notices": {"task": "hub.review.mail", "schedule": 60.0},
    "forget-kept-answers": {"task": "hub.rest.forget", "schedule": 3600.0},
}

# --- limits ----------------------------------------------------------------------------------------------------------
MIB = 1024**2
LIMITS = {
    "file_bytes": env.int("LIMIT_FILE_BYTES", default=5 * 1024 * MIB),
    "inline_bytes": env.int("LIMIT_INLINE_BYTES", default=1 * MIB),
    "regular_bytes": env.int("LIMIT_REGULAR_BYTES", default=32 * MIB),
    "card_bytes": env.int("LIMIT_CARD_BYTES", default=1 * MIB),
    "json_bytes": env.int("LIMIT_JSON_BYTES", default=32 * MIB),
    "commit_bytes": env.int("LIMIT_COMMIT_BYTES", default=512 * MIB),
    "commit_files": env.int("LIMIT_COMMIT_FILES", default=1000),
    "repo_files": env.int("LIMIT_REPO_FILES", default=10_000),
    "upload_seconds": env.int("LIMIT_UPLOAD_SECONDS", default=24 * 3600),
    "collect_grace_seconds": env.int("LIMIT_COLLECT_GRACE_SECONDS", default=7 * 24 * 3600),
    "presigned_seconds": env.int("LIMIT_PRESIGNED_SECONDS", default=3600),
    "whole_bytes": env.int("LIMIT_WHOLE_BYTES", default=32 * MIB),
    "predict_bytes": env.int("LIMIT_PREDICT_BYTES", default=1 * MIB),  # smaller files are stored as they are
    "hot_downloads": env.int("LIMIT_HOT_DOWNLOADS", default=5),
    "streams": env.int("LIMIT_STREAMS", default=6),  # plain downloads of files in chunks at once, of a process
    "arrived_bytes": env.int("LIMIT_ARRIVED_BYTES", default=1024 * MIB),
    "xet_token_seconds": env.int("LIMIT_XET_TOKEN_SECONDS", default=3600),
    "part_bytes": env.int("LIMIT_PART_BYTES", default=64 * MIB),
    "teachings_at_once": env.int("LIMIT_TEACHINGS_AT_ONCE", default=3),
    "teachings_a_day": env.int("LIMIT_TEACHINGS_A_DAY", default=50),
    "checkpoint_seconds": env.int("LIMIT_CHECKPOINT_SECONDS", default=10),
    "evaluation_seconds": env.int("LIMIT_EVALUATION_SECONDS", default=3600),
    "evaluation_bytes": env.int("LIMIT_EVALUATION_BYTES", default=16 * 1024 * MIB),
    "teaching_seconds": env.int("LIMIT_TEACHING_SECONDS", default=6 * 3600),
    "teaching_bytes": env.int("LIMIT_TEACHING_BYTES", default=16 * 1024 * MIB),
    "check_seconds": env.int("LIMIT_CHECK_SECONDS", default=2 * 3600),
    "check_bytes": env.int("LIMIT_CHECK_BYTES", default=16 * 1024 * MIB),
    "cache_bytes": env.int("LIMIT_CACHE_BYTES", default=20 * 1024 * MIB),
}
XET = env.str("XET", default="on") != "off"
PREDICT = env.str("PREDICT", default="on") != "off"  # checkpoints that other files explain are stored in less space
XET_EPOCH = env.str("XET_EPOCH", default="1")  # raise it after a loss of chunks: every client forgets what it has sent
TORCH_THREADS = env.int("TORCH_THREADS", default=1)
"""Threads of one worker's training: more workers with one thread each are faster than one with many."""
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * MIB
LM_EVAL_PYTHON = env.str("LM_EVAL_PYTHON", default="")  # a Python that has lm-eval, for settings that ask for it
RATE_LIMITS = env.str("RATE_LIMITS", default="on") != "off"

# --- applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "hub.stack",
    "hub.accounts",
    "hub.activity",
    "hub.store",
    "hub.repos",
    "hub.jobs",
    "hub.review",
    "hub.webhooks",
    "hub.collections",
    "hub.pages",
    "hub.wire",
    "hub.rest",
    "adapters",
    "merges",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "django.forms",
    "template_partials",
    "django_htmx",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "hub.pages.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "hub.pages.middleware.SessionlessMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "hub.accounts.middleware.ActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "hub.pages.failing.FailureMiddleware",
    "hub.pages.middleware.MovedMiddleware",
]
ROOT_URLCONF = "hub.urls"
WSGI_APPLICATION = "hub.wsgi.application"
APPEND_SLASH = False
CSRF_FAILURE_VIEW = "hub.pages.failing.expired"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hub.pages.context.site",
            ],
            "builtins": ["template_partials.templatetags.partials", "hub.pages.templatetags.tessera"],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# --- people ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.Account"
SILENCED_SYSTEM_CHECKS = ["auth.W004"]  # names are unique without regard to case, by a constraint
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "hub.accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = "name"
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_USERNAME_VALIDATORS = "hub.accounts.names.validators"
ACCOUNT_EMAIL_VERIFICATION = env.str("EMAIL_VERIFICATION", default="optional")
ACCOUNT_PRESERVE_USERNAME_CASING = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Tessera] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = urlsplit(PUBLIC_URL).scheme
if not RATE_LIMITS:
    ACCOUNT_RATE_LIMITS = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Tessera"
EMAIL_URL = env.str("EMAIL_URL", default="consolemail://")
vars().update(env.email_url_config(EMAIL_URL))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Tessera <tessera@localhost>")

# --- safety ----------------------------------------------------------------------------------------------------------
_https = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
X_FRAME_OPTIONS = "DENY"
_store_origin = "{0.scheme}://{0.netloc}".format(urlsplit(S3_PUBLIC_ENDPOINT_URL)) if S3_PUBLIC_ENDPOINT_URL else None
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *([_store_origin] if _store_origin else [])],
        "connect-src": [SELF, *([_store_origin] if _store_origin else [])],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}

# --- api -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "hub.accounts.authentication.TokenAuthentication",
        "hub.accounts.authentication.SessionActorAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_PAGINATION_CLASS": "hub.pages.pagination.ApiPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hub.pages.errors.api_exception_handler",
    "PAGE_SIZE": 30,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tessera",
    "SCHEMA_PATH_PREFIX": "/(api/)?v1",  # groups are named by what follows
    "DESCRIPTION": "Everything the pages can do. Authenticate with `Authorization: Bearer <token>`.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVERS": [{"url": "/", "description": "This hub"}],
    "ENUM_NAME_OVERRIDES": {
        "RepoKind": "hub.repos.models.Kind.choices",
        "AccountKind": "hub.accounts.models.Kind.choices",
        "CommentKind": "hub.rest.review.COMMENT_KINDS",
        "AccountRole": "hub.accounts.models.Role.choices",
        "MemberRole": "hub.accounts.models.MemberRole.choices",
        "ChangeRequestState": "hub.review.models.State.choices",
        "JobState": "hub.jobs.models.State.choices",
        "CheckVerdict": "hub.review.models.Verdict.choices",
        "DecisionVerdict": "hub.rest.bodies.DECISIONS",
        "ReleaseState": "merges.api.systems.RELEASE_STATES",
        "ReactionSign": "hub.rest.queue.SIGNS",
        "AccessState": "hub.rest.access.ACCESS_STATES",
        "NoticeKind": "hub.activity.models.NoticeKind.choices",
    },
}

# --- texts, files, logs ----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env.str("STATIC_ROOT", default=None)
WHITENOISE_USE_FINDERS = True  # one command runs the hub: no collectstatic step
WHITENOISE_AUTOREFRESH = DEBUG
TESTING = "pytest" in sys.modules
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "botocore": {"level": "WARNING"},
        "boto3": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
    },
}
