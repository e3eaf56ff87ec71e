"""What :mod:`model.train` is made of: recipes, augmentation, distillation, averages, files."""
