"Packaging: every fact stands in settings.ini."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters='=')
config.read(root / 'settings.ini', encoding='utf-8')
facts = config['DEFAULT']
minors = range(int(facts['min_python'].split('.')[1]), 14)
statuses = {'3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
licenses = {'apache2': 'Apache-2.0'}

setup(
    name=facts['lib_name'],
    version=facts['version'],
    description=facts['description'],
    keywords=facts['keywords'],
    author=facts['author'],
    author_email=facts['author_email'],
    url=facts['git_url'],
    project_urls={'Documentation': facts['doc_host'] + facts['doc_baseurl']},
    license=licenses[facts['license']],
    license_files=['LICENSE'],
    classifiers=[
        f"Development Status :: {statuses[facts['status']]}",
        f"Intended Audience :: {facts['audience']}",
        f"Natural Language :: {facts['language']}",
    ]
    + [f'Programming Language :: Python :: 3.{minor}' for minor in minors],
    long_description=(root / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=[facts['lib_path'], facts['lib_path'] + '.*']),
    package_data={facts['lib_path']: ['py.typed'], facts['lib_path'] + '.trace': ['*.html', '*.css', '*.js']},
    python_requires='>=' + facts['min_python'],
    install_requires=facts['requirements'].split(),
    extras_require={
        name.removesuffix('_requirements'): needed.split()
        for name, needed in facts.items()
        if name.endswith('_requirements')
    },
    # The second lets other nbdev projects link names of ours to our pages.
    entry_points={
        'console_scripts': facts['console_scripts'].split(),
        'nbdev': [f"{facts['lib_path']} = {facts['lib_path']}._modidx:d"],
    },
)
