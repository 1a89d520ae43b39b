"""Which files the documentation site is made of: those that GitHub shows, in the same places.

MkDocs looks into one folder. The first page is README.md, pictures lie where benchmarks write them,
and pages link to examples: so files are named here by their paths in the repository, and a link
that works on GitHub works on the site. A hook of mkdocs.yml; must not change a page.
"""

from pathlib import Path

from mkdocs.structure.files import File, Files

SHOWN = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/pictures/*",
    "benchmarks/results/*.png",
    "lammps_examples/*.*",
)


def on_files(files: Files, config) -> Files:
    """Put the repository's files in the place of those of docs/."""
    root = Path(config.config_file_path).parent
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for pattern in SHOWN:
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files
