"""Load the extension at a path, and draw words with it, under a Python without PyTorch: `python -I load.py PATH`."""

import importlib.util
import platform
import sys
from array import array


def main(path: str) -> None:
    spec = importlib.util.spec_from_file_location("functional_dists._kernels", path)
    kernels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernels)
    key, words = array("Q", [42, 0]), array("i", [0] * 5)
    kernels.philox_words(key.buffer_info()[0], 1, len(words), words.buffer_info()[0])
    # The known answer of tests/random/test_known_answers.py.
    assert words.tolist() == [-1662324653, 2012563771, 314527917, 1463989207, -52747993], words
    print(f"Python {platform.python_version()} loads the extension, and draws the known words with it")


if __name__ == "__main__":
    main(sys.argv[1])
