"""How long does an image of a template take: the first one, the same again, and after a change of the handler?

    python tests/bench/images.py [--count 5] [--json FILE]

On the engine of DOCKER_HOST, which has the base image; its cache is used as it is, so `first` is only that on an engine
that has never built this template.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pilotlight.builder.docker import ImageBuilder, ImageOrder
from pilotlight.builder.index import index_settings
from pilotlight.builder.layer import ensure_layer
from pilotlight.builder.template import load_template
from pilotlight.engine import connect
from tests.bench import _report
from tests.bench._report import Row, percentile

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--count", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_measure(Path(folder), options.count))
    _report.write("images", rows, options.json)


async def _measure(folder: Path, count: int) -> list[Row]:
    engine = connect(None, call_seconds=60)
    builder = ImageBuilder(engine, runtime=await ensure_layer(folder), index=index_settings(os.environ))
    source = folder / "hello"
    shutil.copytree(TEMPLATES / "python3-http" / "function", source)
    template = load_template(TEMPLATES, "python3-http")
    order = ImageOrder(name="bench", template=template, template_dir=TEMPLATES / "python3-http", handler_dir=source)
    made: list[str] = []
    times: dict[str, list[float]] = {"first": [], "unchanged": [], "handler changed": []}

    async def build(case: str) -> None:
        began = time.perf_counter()
        made.append((await builder.build(order, lambda _line: None)).image)
        times[case].append((time.perf_counter() - began) * 1000)

    await build("first")
    for _ in range(count):
        await build("unchanged")
        (source / "handler.py").write_text(f"def handle(event, context):\n    return {os.urandom(8).hex()!r}\n")
        await build("handler changed")
    for image in set(made):
        await engine.call(lambda client, image=image: client.remove_image(image, force=True))  # type: ignore[misc]
    engine.close()
    return [
        Row(case, name, percentile(values, share), "ms")
        for case, values in times.items()
        for name, share in (("p50", 0.5), ("max", 1.0))
    ]


if __name__ == "__main__":
    main()
