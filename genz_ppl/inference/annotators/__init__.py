"""Several annotators of the same questions: who errs where, what each is worth, whom to ask what next."""
