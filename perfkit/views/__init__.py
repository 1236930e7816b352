"""What pictures show, as numbers: points under a roof, costs against visual tokens, what a request is made of."""
