"""Every setting of Podium, read from the environment; with none set, the embedded mode starts.

DATA_DIR        everything Podium writes (default ./var)
DATABASE_URL    PostgreSQL; without it one SQLite file in DATA_DIR
REDIS_URL       Celery's broker; without it the worker loop polls the database
PODIUM_MODEL    the first policy: a local folder or a Hugging Face id (default: the starter model)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import pgettext_lazy

from config import env

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret("SECRET_KEY", kept_in=DATA_DIR / "secret_key")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
# Behind a proxy that ends TLS: cookies only over https, and the proxy's header is believed.
HTTPS = env.flag("HTTPS")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "csp",
    "labeling",
    "training",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.middleware.admin_content_security_policy",
    "config.middleware.readable_requests",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.middleware.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.LanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

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
            ],
        },
    }
]

# --- database -----------------------------------------------------------------------------------

DATABASE_URL = env.text("DATABASE_URL")
if DATABASE_URL:
    DATABASES = {
        "default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)
    }
    if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database (postgresql://…)")
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(DATA_DIR / "podium.sqlite3"),
            "OPTIONS": {
                # A read-then-write transaction that starts DEFERRED fails under a second writer.
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
                # FULL: in WAL mode, NORMAL may lose the last commits on a power cut.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
            # A file, so that threads and processes of a test share one database.
            "TEST": {"NAME": str(DATA_DIR / "test.sqlite3")},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "labeling.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "labeling:login"
LOGIN_REDIRECT_URL = "labeling:home"
LOGOUT_REDIRECT_URL = "labeling:login"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 14 * 24 * 3600

# --- what browsers are told -----------------------------------------------------------------------

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|livez|readyz)$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
# Unfold's admin is built on Alpine.js and inline scripts; it shows nothing unescaped and loads
# nothing from elsewhere.
ADMIN_CONTENT_SECURITY_POLICY = {
    "script-src": ["'self'", "'unsafe-inline'", "'unsafe-eval'"],
    "style-src": ["'self'", "'unsafe-inline'"],
}

# --- language, time, files ------------------------------------------------------------------------

LANGUAGE_CODE = "en"
# Each by its own name, so that it is found by whoever reads nothing else.
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = HTTPS
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(DATA_DIR / "static")))
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
# Of the locked npm packages only these folders are served.
STATICFILES_DIRS = [
    ("vendor/pretendard", BASE_DIR / "node_modules" / "pretendard" / "dist" / "web" / "variable"),
]
# Served from where they lie: no collectstatic between an edit, or an upgrade, and the page.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_MAX_AGE = 600
# Imports are streamed line by line and bounded by line; this bounds every other request body.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20
MAX_TEXT_CHARACTERS = env.integer("MAX_TEXT_CHARACTERS", 500_000)
LEASE_SECONDS = env.integer("LEASE_SECONDS", 1800)
# Quality figures follow new rankings, not more often than this.
QUALITY_EVERY_SECONDS = env.integer("QUALITY_EVERY_SECONDS", 300)
# Prompts on sensitive topics that a labeler is given in a day; labelers may choose fewer.
DAILY_SENSITIVE_LIMIT = env.integer("DAILY_SENSITIVE_LIMIT", 50)

# --- API ------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "labeling.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["labeling.api.parsers.GuardedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "labeling.api.exceptions.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    # ?format= chooses an export's format, not a renderer.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Podium",
    "DESCRIPTION": "People rank a model's completions; workers turn them into a better model.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
}

# --- jobs -----------------------------------------------------------------------------------------

# A local folder, a Hugging Face id, or the word for the model that Podium ships.
PODIUM_MODEL = env.text("PODIUM_MODEL", "starter")
STARTER_MODEL = BASE_DIR / "training" / "starter" / "sft"
JOBS_DIR = DATA_DIR / "jobs"
ARTIFACTS_DIR = Path(env.text("ARTIFACTS_DIR", str(DATA_DIR / "artifacts"))).resolve()
REDIS_URL = env.text("REDIS_URL")
# How a trainer is started; "accelerate launch --num_processes 8 -m" for several GPUs.
TRAINER_LAUNCH = env.text("TRAINER_LAUNCH")
PTX_CORPUS = env.text("PODIUM_PTX_CORPUS")
RUN_LEASE_SECONDS = env.integer("RUN_LEASE_SECONDS", 60)
RUN_MAX_ATTEMPTS = env.integer("RUN_MAX_ATTEMPTS", 3)
# A stopped trainer finishes its step and writes a checkpoint; after this it is killed.
TRAINER_GRACE_SECONDS = env.integer("TRAINER_GRACE_SECONDS", 60)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.text("LOG_LEVEL", "INFO")},
    # Its INFO is a line a request.
    "loggers": {"httpx": {"level": "WARNING"}},
}


def _page(title: str, icon: str, name: str) -> dict[str, Any]:
    """An entry of the admin's sidebar."""
    link = reverse_lazy(f"admin:{name}")
    return {"title": pgettext_lazy("sidebar", title), "icon": icon, "link": link}


def _group(title: str, *pages: dict[str, Any]) -> dict[str, Any]:
    """A titled part of the admin's sidebar."""
    return {"title": pgettext_lazy("sidebar", title), "separator": True, "items": list(pages)}


UNFOLD = {
    "SITE_TITLE": "Podium",
    "SITE_HEADER": "Podium",
    "SITE_URL": "/",
    "SITE_SYMBOL": "leaderboard",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("labeling/icon.svg"),
        }
    ],
    "STYLES": [
        lambda request: static("vendor/pretendard/pretendardvariable-dynamic-subset.css"),
        lambda request: static("labeling/css/admin.css"),
    ],
    "DASHBOARD_CALLBACK": "training.admin.overview.overview",
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # Indigo, as on the labelers' pages.
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "items": [_page("Overview", "home", "index")],
            },
            _group(
                "Loop",
                _page("Pools", "inbox", "labeling_pool_changelist"),
                _page("Prompts", "forum", "labeling_prompt_changelist"),
                _page("Flags on prompts", "flag", "labeling_promptflag_changelist"),
                _page("Demonstrations", "edit_note", "labeling_demonstration_changelist"),
                _page("Writing", "draw", "labeling_writing_changelist"),
                _page("Written prompts", "rate_review", "labeling_proposal_changelist"),
                _page("Use cases", "contact_page", "labeling_application_changelist"),
                _page("Tasks", "checklist", "labeling_task_changelist"),
                _page("Assignments", "assignment_ind", "labeling_assignment_changelist"),
                _page("Rankings", "leaderboard", "labeling_ranking_changelist"),
                _page("Quality", "monitoring", "labeling_qualityreport_changelist"),
                _page("Adjudications", "gavel", "labeling_adjudication_changelist"),
                _page("Topics", "sell", "labeling_topic_changelist"),
                _page("Control tasks", "fact_check", "labeling_controltask_changelist"),
                _page("Comparisons", "compare_arrows", "labeling_comparison_changelist"),
            ),
            _group(
                "Training",
                _page("Runs", "play_circle", "training_run_changelist"),
                _page("Models", "account_tree", "training_modelversion_changelist"),
                _page("Rounds", "restart_alt", "labeling_round_changelist"),
            ),
            _group(
                "People",
                _page("Users", "group", "labeling_user_changelist"),
                _page("Qualifications", "school", "labeling_qualification_changelist"),
                _page("Test items", "quiz", "labeling_qualificationitem_changelist"),
                _page("API tokens", "key", "labeling_apitoken_changelist"),
            ),
        ],
    },
}
