"""Two samples of events side by side: is the second like the first?"""
