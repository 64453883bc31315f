"Packaging: every fact stands in settings.ini."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).resolve().parent
config = ConfigParser(delimiters='=')
config.read(root / 'settings.ini', encoding='utf-8')
facts = config['DEFAULT']
package = facts['lib_name']
minors = range(int(facts['min_python'].split('.')[1]), 14)
statuses = {'3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
licenses = {'apache2': 'Apache-2.0'}


class BuildPackage(build_py):
    "Leaves nbdev's index of the notebooks out of the wheel: only nbdev's own commands read it, in a checkout."

    def find_package_modules(self, package: str, package_dir: str) -> list:
        modules = super().find_package_modules(package, package_dir)
        return [module for module in modules if module[1] != '_modidx']


setup(
    name=package,
    version=facts['version'],
    description=facts['description'],
    keywords=facts['keywords'],
    author=facts['author'],
    author_email=facts['author_email'],
    url=facts['git_url'],
    project_urls={
        'Documentation': facts['doc_host'] + facts['doc_baseurl'],
        'Source': facts['git_url'],
        'Issues': facts['git_url'] + '/issues',
        'Changelog': facts['git_url'] + f'/blob/{facts["branch"]}/CHANGELOG.md',
    },
    license=licenses[facts['license']],
    license_files=['LICENSE'],
    classifiers=[
        f'Development Status :: {statuses[facts["status"]]}',
        f'Intended Audience :: {facts["audience"]}',
        'Intended Audience :: Science/Research',
        f'Natural Language :: {facts["language"]}',
        'Operating System :: POSIX :: Linux',
        'Operating System :: MacOS',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
        *[f'Programming Language :: Python :: 3.{minor}' for minor in minors],
    ],
    long_description=(root / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=[facts['lib_path'], facts['lib_path'] + '.*']),
    package_data={package: ['py.typed'], f'{package}.trace': ['*.html', '*.css', '*.js']},
    python_requires='>=' + facts['min_python'],
    install_requires=facts['requirements'].split(),
    extras_require={
        name.removesuffix('_requirements'): needed.split()
        for name, needed in facts.items()
        if name.endswith('_requirements')
    },
    entry_points={'console_scripts': facts['console_scripts'].split()},
    cmdclass={'build_py': BuildPackage},
)
