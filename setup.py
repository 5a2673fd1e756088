"""The description of the distributions: the README without what leads nowhere outside of the repository."""

import re
from pathlib import Path

from setuptools import setup


def described(readme: str) -> str:
    """Return Markdown without the images of the repository, and with the texts of links to its files alone."""
    inside = r"\((?![a-z]+:)[^)\s]*\)"  # a target that is no URL
    without_images = re.sub(rf"!\[[^\]]*\]{inside}\n*", "", readme)
    return re.sub(rf"\[([^\]]*)\]{inside}", r"\1", without_images)


if __name__ == "__main__":
    setup(
        long_description=described((Path(__file__).parent / "README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
