"""Opens the documentation at /docs in a headless Chromium: the one of CHROMIUM, of the path, or Debian's
package, which is installed where this may be done."""

import os
import shutil
import sys
import tempfile

import common


def chromium():
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        found = name and shutil.which(name)
        if found:
            return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise common.Failed("no Chromium is found; install one, or set CHROMIUM to its path")
    print("Installing Chromium from Debian's packages")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    common.run(["apt-get", "update", "-q"], quiet)
    common.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"], quiet)
    return shutil.which("chromium")


def check():
    common.need_command("node", "install Node.js 20 or newer")
    browser = chromium()
    with tempfile.TemporaryDirectory() as folder, common.Processes(folder) as processes:
        url = common.serve(processes, folder, "--memory")["url"]
        script = common.ROOT / "checks" / "docs" / "check.mjs"
        print(common.run(["node", script, url, browser, *sys.argv[1:]], timeout=120), end="")


if __name__ == "__main__":
    common.main(check)
