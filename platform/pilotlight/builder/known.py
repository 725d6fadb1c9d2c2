"""Packages that functions often need, to guess what a name that does not exist was meant to be.

An index is not asked for its list of names: it is long, and what is like a mistyped name on it may be a trap that
somebody laid. Only what is well known is proposed.
"""

import difflib

PACKAGE_OF_MODULE = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless", "dateutil": "python-dateutil",
    "dotenv": "python-dotenv", "fitz": "pymupdf", "google.protobuf": "protobuf", "jose": "python-jose",
    "jwt": "pyjwt", "magic": "python-magic", "mysqldb": "mysqlclient", "openssl": "pyopenssl", "pil": "pillow",
    "psycopg2": "psycopg2-binary", "serial": "pyserial", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "yaml": "pyyaml", "zmq": "pyzmq",
}  # fmt: skip
"""Where the name to import is not the name to install."""

_PACKAGES = (
    "aiohttp", "anyio", "attrs", "azure-storage-blob", "beautifulsoup4", "boto3", "botocore", "cachetools", "certifi",
    "charset-normalizer", "click", "cloudevents", "cryptography", "datasets", "django", "fastapi", "flask", "gensim",
    "google-cloud-storage", "grpcio", "gunicorn", "httpx", "huggingface-hub", "idna", "imageio", "jinja2", "joblib",
    "jsonschema", "keras", "langchain", "lightgbm", "lxml", "markdown", "matplotlib", "mlflow", "msgpack", "msgspec",
    "nltk", "numba", "numpy", "onnx", "onnxruntime", "openai", "opencv-python", "opencv-python-headless", "openpyxl",
    "orjson", "pandas", "pillow", "polars", "prometheus-client", "protobuf", "psutil", "psycopg", "psycopg2-binary",
    "pyarrow", "pydantic", "pyjwt", "pymongo", "pymupdf", "pypdf", "pytest", "python-dateutil", "python-dotenv",
    "pytz", "pyyaml", "redis", "regex", "requests", "rich", "safetensors", "scikit-image", "scikit-learn", "scipy",
    "seaborn", "sentence-transformers", "sentencepiece", "setuptools", "six", "spacy", "sqlalchemy", "starlette",
    "statsmodels", "structlog", "sympy", "tensorflow", "tokenizers", "torch", "torchaudio", "torchvision", "tqdm",
    "transformers", "typing-extensions", "ultralytics", "urllib3", "uvicorn", "websockets", "xgboost",
)  # fmt: skip


def meant_by(name: str) -> list[str]:
    """At most three packages that somebody may have meant, the likeliest first."""
    lowered = name.lower().replace("_", "-")
    if lowered in PACKAGE_OF_MODULE:
        return [PACKAGE_OF_MODULE[lowered]]
    return difflib.get_close_matches(lowered, _PACKAGES, n=3, cutoff=0.75)
