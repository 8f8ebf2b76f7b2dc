"""A small cohort, for trainings that are about bits, kills and processes and not about images."""

SPEC = "based_on: brain_demo\nsource: {subjects: 40, image_size: 32}\nsplit: {validation: 4, test: 4}\n"
